// Results beside the boxes, in step with the playhead: one large, or several seeds as a grid.

import { $, make, oncePerFrame, show } from "./dom.js";
import { boxAt } from "./key_frames.js";
import { advance, goesOn, isEnded, progress } from "./results.js";

export class Player {
  #store;
  #results;
  #cells = new Map(); // job id -> what is loaded of it

  constructor(store, results) {
    this.#store = store;
    this.#results = results;
    const toggle = (id, name) => $(id).addEventListener("click", () => store.look({ [name]: !store.view[name] }));
    toggle("#result-boxes", "boxesOverResult");
    toggle("#result-strip", "strip");
    $("#result-close").addEventListener("click", () => store.look({ results: [] }));
    this.draw = oncePerFrame(() => this.#draw());
    new ResizeObserver(this.draw).observe($("#result-grid"));
    store.subscribe(this.draw);
  }

  #draw() {
    const { view, jobs } = this.#store;
    const shown = jobs.filter((job) => view.results.includes(job.id)).reverse();
    $("#result-view").hidden = shown.length === 0;
    $("#result-boxes").setAttribute("aria-pressed", view.boxesOverResult);
    $("#result-strip").setAttribute("aria-pressed", view.strip);
    $("#result-title").textContent =
      shown.length > 1 ? `${shown.length} seeds` : shown.length ? `Seed ${shown[0].seed}` : "";
    const grid = $("#result-grid");
    grid.style.setProperty("--columns", this.#columns(shown, grid));
    grid.classList.toggle("with-strip", view.strip);
    grid.classList.toggle("many", shown.length > 1);
    show(
      grid,
      shown,
      (job) => job.id,
      (job, old) => this.#cell(job, old),
    );
    for (const id of this.#cells.keys()) if (!view.results.includes(id)) this.#cells.delete(id);
    for (const job of shown) this.#paint(job);
  }

  /** As many columns as make the videos largest. */
  #columns(shown, grid) {
    const largest = (columns) =>
      Math.min(
        grid.clientWidth / columns,
        (grid.clientHeight / Math.ceil(shown.length / columns)) * this.#shape(shown[0]),
      );
    return shown.reduce((best, _, index) => (largest(index + 1) > largest(best) ? index + 1 : best), 1);
  }

  #cell(job, old) {
    if (goesOn(old, job)) {
      advance($(".progress", old), job);
      this.#load(job, old);
      return old;
    }
    const element =
      old ??
      make(
        "div",
        { class: "cell" },
        make("div", { class: "screen" }, make("canvas", { role: "img", "aria-label": `Video with seed ${job.seed}` })),
        make("div", { class: "film" }),
        make("div", { class: "status" }),
      );
    const status = [];
    if (!isEnded(job)) {
      status.push(progress(job), this.#results.cancelButton(job));
    } else if (job.state === "done") {
      status.push(make("strong", { class: "seed" }, `Seed ${job.seed}`), this.#take(job));
      for (const note of job.notes ?? []) status.push(make("p", { class: "note" }, note));
    } else status.push(make("p", { class: job.error ? "note error" : "note" }, job.error ?? "Cancelled"));
    element.lastChild.replaceChildren(...status);
    this.#load(job, element);
    return element;
  }

  #take(job) {
    const use = () => this.#store.change({ settings: { ...this.#store.project.settings, seed: job.seed } });
    return make(
      "button",
      { type: "button", class: "text-button seed", "aria-label": `Use seed ${job.seed}`, onclick: use },
      "Use this seed",
    );
  }

  #load(job, element) {
    const cell = this.#cells.get(job.id) ?? { frames: [], preview: null, still: null, source: null };
    this.#cells.set(job.id, Object.assign(cell, { element }));
    const source = job.state === "done" ? "frames" : job.preview;
    const picture = (url, onload) => {
      const image = Object.assign(new Image(), {
        onload: () => {
          onload(image);
          this.draw();
        },
      });
      image.src = url;
      return image;
    };
    if (!source && this.#store.project.image) cell.still ??= picture(this.#store.project.image.url, () => {});
    if (source === cell.source || !source) return;
    cell.source = source;
    if (source !== "frames")
      return void picture(source, (image) => {
        cell.preview = image;
      });
    cell.frames = Array.from({ length: job.settings.num_frames }, (_, frame) =>
      picture(`/api/jobs/${job.id}/frames/${frame}.png`, () => {}),
    );
    const film = cell.frames.map((image, frame) =>
      make(
        "button",
        {
          type: "button",
          "aria-label": `Frame ${frame}`,
          tabindex: "-1",
          onclick: () => this.#store.look({ playing: false, frame }),
        },
        image.cloneNode(),
      ),
    );
    element.querySelector(".film").replaceChildren(...film);
  }

  #paint(job) {
    const { element, frames, preview, still } = this.#cells.get(job.id);
    const { view } = this.#store;
    const canvas = $("canvas", element);
    const frame = Math.min(view.frame, job.settings.num_frames - 1);
    [...$(".film", element).children].forEach((child, index) => child.classList.toggle("here", index === frame));
    const image = [frames[frame], preview, still].find((picture) => picture?.naturalWidth);
    element.classList.toggle("waiting", !image || image === still);
    if (!image) return;
    const part = image === preview ? preview.naturalWidth / job.settings.num_frames : image.naturalWidth;
    const size = [part, image.naturalHeight];
    const screen = canvas.parentElement;
    const shape = this.#shape(job);
    const fit = Math.min(screen.clientWidth / shape, screen.clientHeight);
    const pixels = devicePixelRatio;
    const [width, height] = [Math.max(Math.round(fit * shape * pixels), 1), Math.max(Math.round(fit * pixels), 1)];
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    Object.assign(canvas.style, { width: `${width / pixels}px`, height: `${height / pixels}px` });
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = width / size[0] < 3;
    context.drawImage(image, image === preview ? frame * part : 0, 0, ...size, 0, 0, width, height);
    canvas.dataset.shows = image === still ? "still" : image === preview ? `preview ${frame}` : `frame ${frame}`;
    if (view.boxesOverResult) this.#paintBoxes(context, job, frame, [width, height]);
  }

  // Videos whose image was squashed are shown in the image's shape, as the boxes are.
  #shape(job) {
    const image = job.image ?? this.#store.project.image;
    return image ? image.width / image.height : 1;
  }

  #paintBoxes(context, job, frame, [width, height]) {
    const { project } = this.#store;
    const image = job.image ?? project.image;
    const objects = job.objects ?? project.objects;
    objects.forEach((object, index) => {
      const box = boxAt(object, frame);
      if (!box) return;
      const [sx, sy] = [width / image.width, height / image.height];
      context.strokeStyle = object.color ?? project.objects[index]?.color ?? "#ffffff";
      context.lineWidth = 2 * devicePixelRatio;
      context.strokeRect(box[0] * sx, box[1] * sy, (box[2] - box[0]) * sx, (box[3] - box[1]) * sy);
    });
  }
}
