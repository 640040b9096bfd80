// The page from its parts. Reading order: store, key_frames, geometry; then canvas and pointer; then the panels.

import { Canvas } from "./canvas.js";
import { $, icon, say } from "./dom.js";
import { Files } from "./files.js";
import { Keyboard } from "./keyboard.js";
import { ObjectsPanel } from "./objects.js";
import { Player } from "./player.js";
import { Pointer } from "./pointer.js";
import { isEnded, Results } from "./results.js";
import { Server } from "./server.js";
import { SettingsPanel } from "./settings.js";
import { Store } from "./store.js";
import { Timeline } from "./timeline.js";
import { Transport } from "./transport.js";
import { VideoDialog } from "./video.js";

for (const element of document.querySelectorAll("[data-icon]")) element.prepend(icon(element.dataset.icon));

const store = new Store();
const server = new Server(store);
const canvas = new Canvas($("#canvas"), store, ({ scale }) => {
  $("#zoom-fit").textContent = `${Math.round(scale * 100)}%`;
  $("#zoom-fit").setAttribute("aria-label", `Fit the image; it is shown at ${Math.round(scale * 100)} percent`);
});
const objects = new ObjectsPanel(store);
const transport = new Transport(store, () => objects.remove());
const settings = new SettingsPanel(store, server);
const video = new VideoDialog(store, server);
const files = new Files(store, server, (file) => video.open(file));
const results = new Results(store, server);
const keyboard = new Keyboard({ store, canvas, transport, objects, settings, files });
const pointer = new Pointer(canvas, store, keyboard.held, (object) => objects.rename(object));
keyboard.pointer = pointer;
new Timeline($("#timeline"), store, () => objects.remove());
new Player(store, results);

$("#undo").addEventListener("click", () => store.undo());
$("#redo").addEventListener("click", () => store.redo());
$("#zoom-in").addEventListener("click", () => canvas.zoom(1.25));
$("#zoom-out").addEventListener("click", () => canvas.zoom(0.8));
$("#zoom-fit").addEventListener("click", () => canvas.fit());
for (const button of document.querySelectorAll("[data-tool]")) {
  button.addEventListener("click", () => store.look({ tool: button.dataset.tool }));
}
store.subscribe(() => {
  $("#undo").disabled = !store.canUndo;
  $("#redo").disabled = !store.canRedo;
  for (const button of document.querySelectorAll("[data-tool]"))
    button.setAttribute("aria-pressed", store.view.tool === button.dataset.tool);
  $("#canvas-hint").textContent = hint();
});

/** What to do next, over the image. */
function hint() {
  const { project, view, selected } = store;
  if (!project.image) return "";
  if (view.tool === "record") return "Drag a box along its path: its motion is recorded to the last frame";
  if (view.tool === "draw" || !project.objects.length) return "Drag to draw a box";
  if (selected && !view.playing && project.objects.length === 1 && Object.keys(selected.boxes).length === 1) {
    return view.frame in selected.boxes
      ? "Now move the playhead to another frame"
      : "Move the box: that makes a key frame";
  }
  return "";
}

server
  .start()
  .then(() => {
    const underWay = store.jobs.filter((job) => job.kind !== "track" && !isEnded(job));
    store.look({ results: underWay.map((job) => job.id) });
  })
  .catch((error) => say(error.message, { error: true }));
