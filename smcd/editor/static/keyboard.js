// Every key of the page in one table; the help dialog shows the same table.

import { $, isTyping, make } from "./dom.js";
import { moveBox, resizeBox } from "./geometry.js";
import { boxAt, withBox } from "./key_frames.js";

const GESTURES = [
  ["Drag over the image", "Draw the box of a new object, or the box with which the selected one comes back"],
  ["Drag a box or its handles", "Make a key frame at the playhead; Shift keeps the shape"],
  ["Hold R and drag a box", "Record its motion along the path, from the playhead to the last frame"],
  ["Wheel, two fingers", "Zoom"],
  ["Middle button, Space and drag", "Move the view"],
  ["Drag a diamond", "Move a key frame in time; Delete removes it"],
];

export class Keyboard {
  held = new Set(); // codes of the keys that are down, for gestures

  constructor(parts) {
    Object.assign(this, parts);
    const { store, canvas, transport, objects } = parts;
    this.table = [
      ["Space", "Play or pause", null],
      [", and .", "Previous and next frame", { ",": () => transport.step(-1), ".": () => transport.step(1) }],
      ["[ and ]", "Previous and next key frame", { "[": () => transport.stepKey(-1), "]": () => transport.stepKey(1) }],
      [
        "Home and End",
        "First and last frame",
        { Home: () => transport.step(-Infinity), End: () => transport.step(Infinity) },
      ],
      ["Arrow keys", "Move the selected box by a pixel, with Shift by ten", null],
      ["Alt and arrow keys", "Make it wider, narrower, higher, lower", null],
      ["A", "Add an object", { a: () => objects.add() }],
      ["Tab in the list, or 1 to 9", "Select an object", null],
      ["K", "Add or remove the key frame here", { k: () => transport.toggleKey() }],
      ["X", "Absent from here", { x: () => transport.absent() }],
      ["V and B", "Select, draw", { v: () => store.look({ tool: "select" }), b: () => store.look({ tool: "draw" }) }],
      ["Ctrl+C and Ctrl+V", "Copy and paste a motion, or paste an image", null],
      ["Ctrl+D", "Duplicate the object", null],
      [
        "Delete",
        "Delete the object, or the key frame that has the focus",
        { Delete: () => objects.remove(), Backspace: () => objects.remove() },
      ],
      ["Ctrl+Z and Ctrl+Shift+Z", "Undo and redo", null],
      ["Ctrl+Enter", "Animate", null],
      [
        "+, - and 0",
        "Zoom in, out, fit",
        {
          "+": () => canvas.zoom(1.25),
          "=": () => canvas.zoom(1.25),
          "-": () => canvas.zoom(0.8),
          0: () => canvas.fit(),
        },
      ],
      ["L", "Loop", { l: () => store.look({ loop: !store.view.loop }) }],
      [
        "O and S",
        "Boxes over the result, all its frames as a strip",
        {
          o: () => store.look({ boxesOverResult: !store.view.boxesOverResult }),
          s: () => store.look({ strip: !store.view.strip }),
        },
      ],
      ["Escape", "Take back the drag, or select nothing", null],
      ["?", "This help", { "?": () => this.help() }],
    ];
    this.actions = Object.assign({}, ...this.table.map(([, , actions]) => actions));
    addEventListener("keydown", (event) => this.#down(event));
    addEventListener("keyup", (event) => this.#up(event));
    addEventListener("blur", () => this.held.clear());
    // After a click of the mouse, the keys are for the image again: Space plays, it does not press the button once more.
    addEventListener(
      "click",
      (event) => event.detail && event.target.closest("main button, .bar > button") && document.activeElement.blur(),
    );
    addEventListener("copy", (event) => this.#copy(event));
    addEventListener("paste", (event) => this.#paste(event));
    $("#help").addEventListener("click", () => this.help());
  }

  help() {
    const rows = [...GESTURES, ...this.table].flatMap(([keys, meaning]) => [
      make("dt", {}, keys),
      make("dd", {}, meaning),
    ]);
    $("#keys").replaceChildren(...rows);
    $("#help-dialog").showModal();
  }

  #down(event) {
    if ($("dialog[open]")) return;
    const { store } = this;
    const isOnControl = event.target.closest?.("button, a, input, select, summary");
    const control = event.ctrlKey || event.metaKey;
    if (control && event.key === "Enter") this.settings.animate();
    else if (isTyping(event.target)) return;
    else if (control && event.key.toLowerCase() === "z") event.shiftKey ? store.redo() : store.undo();
    else if (control && event.key.toLowerCase() === "y") store.redo();
    else if (control && event.key.toLowerCase() === "d") this.objects.duplicate();
    else if (control) return;
    else if (event.code === "Space" && isOnControl) return;
    else if (event.code === "Space" || event.code === "KeyR") this.held.add(event.code);
    else if (event.key === "Escape" && isOnControl)
      return; // it closes a menu
    else if (event.key === "Escape") this.#escape();
    else if (event.key.startsWith("Arrow") && event.target.closest?.("select, [role=slider], input")) return;
    else if (event.key.startsWith("Arrow")) this.#nudge(event);
    else if (/^[1-9]$/.test(event.key))
      store.look({ selected: store.project.objects[event.key - 1]?.id ?? store.view.selected });
    else if (this.actions[event.key.length === 1 ? event.key.toLowerCase() : event.key])
      this.actions[event.key.length === 1 ? event.key.toLowerCase() : event.key]();
    else return;
    event.preventDefault();
  }

  #up(event) {
    if (this.held.delete(event.code) && event.code === "Space" && !this.held.delete("panned")) this.transport.play();
    if (event.key.startsWith("Arrow")) this.store.commit();
  }

  #escape() {
    if (this.pointer.drag) this.pointer.cancel();
    else if (this.store.view.tool !== "select") this.store.look({ tool: "select" });
    else this.store.look({ selected: null });
  }

  // A key that is held is one step of undo: it is committed when it comes up.
  #nudge(event) {
    const { store } = this;
    const {
      selected: object,
      view: { frame },
    } = store;
    const box = object && boxAt(object, frame);
    if (!box) return;
    const length = event.shiftKey ? 10 : 1;
    const by = { ArrowLeft: [-length, 0], ArrowRight: [length, 0], ArrowUp: [0, -length], ArrowDown: [0, length] }[
      event.key
    ];
    const next = event.altKey ? resizeBox(box, "se", by, store.size) : moveBox(box, by, store.size);
    store.update(store.with(withBox(object, frame, next)));
  }

  #copy(event) {
    if (isTyping(event.target) || !getSelection().isCollapsed) return;
    const object = this.transport.copy();
    if (!object) return;
    const { phrase, boxes, easing } = object;
    event.clipboardData.setData("text/plain", JSON.stringify({ phrase, boxes, easing }));
    event.preventDefault();
  }

  #paste(event) {
    const [file] = event.clipboardData.files;
    if (file) {
      event.preventDefault();
      this.files.open(file);
    } else if (!isTyping(event.target)) this.transport.paste(motionIn(event.clipboardData.getData("text/plain")));
  }
}

// The motion that a text of the clipboard holds (it may come from another tab), or undefined.
function motionIn(text) {
  try {
    const { phrase, boxes, easing } = JSON.parse(text);
    const isBox = (box) => box === null || (box.length === 4 && box.every(Number.isFinite));
    const isMotion =
      typeof phrase === "string" && Object.values(boxes).some(Boolean) && Object.values(boxes).every(isBox);
    return isMotion ? { phrase, boxes, easing: easing ?? {} } : undefined;
  } catch {
    return undefined;
  }
}
