// Boxes from a video: drawn in one of its frames, followed by the tracker, brought into the project as key frames.

import { $, iconButton, make } from "./dom.js";
import { boxBetween, fitBox, isLarge, moveBox, resizeBox } from "./geometry.js";
import { isEnded } from "./results.js";

export class VideoDialog {
  #store;
  #server;
  #dialog = $("#video-dialog");
  #form = $("#video-form");
  #video = null; // {frames, width, height} of the one that is open
  #boxes = []; // {phrase, box, color}
  #job = null; // id of the job that follows them
  #stage = null;
  #picture = new Konva.Image({ listening: false });
  #layer = new Konva.Layer({ listening: false });

  constructor(store, server) {
    this.#store = store;
    this.#server = server;
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      server.attempt(() => this.#track());
    });
    this.#form.elements.first.addEventListener("change", () => this.#show());
    this.#dialog.addEventListener(
      "close",
      () => this.#job && server.attempt(() => server.request("DELETE", `/api/jobs/${this.#job}`)),
    );
    this.#listen($("#video-canvas"));
    store.subscribe(() => this.#follow());
  }

  /** Sends a video to the server and shows its first frame. */
  async open(file) {
    this.#video = await this.#server.request("POST", `/api/video?name=${encodeURIComponent(file.name)}`, file);
    this.#boxes = [];
    this.#job = null;
    const { first, last, use_first_frame: useFrame } = this.#form.elements;
    first.value = 0;
    first.max = last.max = last.value = this.#video.frames - 1;
    useFrame.checked = true;
    this.#dialog.showModal();
    this.#show();
    this.#draw();
  }

  get #scale() {
    return this.#stage.width() / this.#video.width;
  }

  #show() {
    const element = $("#video-canvas");
    const { width, height } = this.#video;
    const scale = Math.min(640 / width, 360 / height, (innerWidth - 80) / width);
    element.style.width = `${width * scale}px`;
    element.style.height = `${height * scale}px`;
    this.#stage ??= new Konva.Stage({ container: element, width: 1, height: 1, listening: false }).add(this.#layer);
    this.#stage.size({ width: width * scale, height: height * scale });
    const image = new Image();
    image.onload = () => {
      this.#picture.setAttrs({ image, width: width * scale, height: height * scale });
      this.#draw();
    };
    image.src = `/api/video/frames/${this.#form.elements.first.valueAsNumber || 0}.jpg?video=${this.#video.id}`;
  }

  #listen(element) {
    let from = null;
    const point = (event) => {
      const edge = element.getBoundingClientRect();
      return [(event.clientX - edge.left) / this.#scale, (event.clientY - edge.top) / this.#scale];
    };
    element.addEventListener("pointerdown", (event) => {
      element.setPointerCapture(event.pointerId);
      from = point(event);
      this.#add([...from, ...from]);
    });
    element.addEventListener("pointermove", (event) => {
      if (!from) return;
      this.#boxes.at(-1).box = boxBetween(from, point(event), this.#size);
      this.#paint();
    });
    element.addEventListener("pointerup", () => {
      if (!from) return;
      from = null;
      if (!isLarge(this.#boxes.at(-1).box, 4 / this.#scale)) this.#boxes.pop();
      this.#draw();
      $("#video-boxes li:last-child input")?.select();
    });
    element.addEventListener("keydown", (event) => this.#key(event));
  }

  get #size() {
    return [this.#video.width, this.#video.height];
  }

  #add(box) {
    const number = this.#boxes.length + 1;
    const color = ["#3b82f6", "#f97316", "#10b981", "#ec4899"][(number - 1) % 4];
    this.#boxes.push({ phrase: `object ${number}`, box, color });
  }

  // Without a mouse: Enter adds a box in the middle, the arrow keys move it, with Alt they resize it.
  #key(event) {
    const [width, height] = this.#size;
    const last = this.#boxes.at(-1);
    const step = Math.max(width, height) / 100;
    const by = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
    if (event.key === "Enter")
      this.#add(fitBox([width / 3, height / 3, (2 * width) / 3, (2 * height) / 3], this.#size));
    else if (by && last)
      last.box = event.altKey ? resizeBox(last.box, "se", by, this.#size) : moveBox(last.box, by, this.#size);
    else return;
    event.preventDefault();
    this.#draw();
  }

  #draw() {
    this.#paint();
    const items = this.#boxes.map((item, index) => {
      const rename = (event) => {
        item.phrase = event.target.value;
      };
      const remove = () => {
        this.#boxes.splice(index, 1);
        this.#draw();
      };
      const name = make("input", { type: "text", value: item.phrase, "aria-label": "Name", oninput: rename });
      return make("li", {}, name, iconButton("trash", `Delete ${item.phrase}`, remove));
    });
    $("#video-boxes").replaceChildren(...items);
    $("button[type=submit]", this.#form).disabled = this.#boxes.length === 0 || this.#job !== null;
  }

  #paint() {
    const scale = this.#scale;
    const rects = this.#boxes.map(({ box: [x1, y1, x2, y2], color }) => {
      const edges = { x: x1 * scale, y: y1 * scale, width: (x2 - x1) * scale, height: (y2 - y1) * scale };
      return new Konva.Rect({ ...edges, stroke: color, strokeWidth: 2.5, fill: `${color}29` });
    });
    this.#picture.remove();
    this.#layer.destroyChildren();
    this.#layer.add(this.#picture, ...rects);
    this.#layer.draw();
  }

  async #track() {
    const { first, last, tolerance, use_first_frame: useFrame } = this.#form.elements;
    await this.#server.flush();
    const job = await this.#server.request("POST", "/api/track", {
      boxes: this.#boxes.map(({ phrase, box }) => ({ phrase, box })),
      first: first.valueAsNumber,
      last: last.valueAsNumber,
      tolerance: tolerance.valueAsNumber,
      use_first_frame: useFrame.checked,
    });
    this.#job = job.id;
    this.#store.setJob(job);
    this.#draw();
  }

  // When the job is done, the server has merged the key frames into the project and says so by itself.
  #follow() {
    const bar = $("#video-progress");
    const job = this.#job && this.#store.jobs.find(({ id }) => id === this.#job);
    bar.hidden = !job;
    if (!job) return;
    bar.max = job.steps || 1;
    bar.value = job.step;
    if (!isEnded(job)) return;
    this.#job = null;
    bar.hidden = true;
    $("#video-note").textContent =
      job.error ?? "Draw a box around each object in the first frame. The tracker follows it.";
    if (job.state === "done") this.#dialog.close();
    else this.#draw();
  }
}
