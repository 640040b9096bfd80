// Prompt and numbers of the video to make, and the Animate button.

import { $, announce, oncePerFrame, say } from "./dom.js";
import { cutTo } from "./key_frames.js";
import { describe } from "./motion.js";

export class SettingsPanel {
  #store;
  #server;
  #form = $("#settings");

  constructor(store, server) {
    this.#store = store;
    this.#server = server;
    this.#form.addEventListener("input", (event) => this.#input(event.target));
    this.#form.addEventListener("change", (event) => this.#change(event.target));
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.animate();
    });
    $("#suggest").addEventListener("click", () => {
      this.#store.change(this.#settings({ prompt: describe(store.project.objects, store.numFrames) }));
    });
    store.subscribe(oncePerFrame(() => this.#draw()));
  }

  /** Makes a video for each seed, of the project as it is shown. */
  animate() {
    const { prompt } = this.#form.elements;
    const store = this.#store;
    if (!store.project.image) return say("Open an image first.", { error: true, key: "animate" });
    if (!store.project.objects.length)
      return say("Draw a box over the image first: it says where an object goes.", { error: true, key: "animate" });
    if (!prompt.value.trim()) {
      prompt.focus();
      return say("Write a prompt first: what happens in the video?", { error: true, key: "animate" });
    }
    const wrong = $(":invalid", this.#form);
    if (wrong) {
      wrong.focus();
      return this.#sayWrong(wrong);
    }
    return this.#server.attempt(async () => {
      await this.#server.flush();
      const { seed } = store.project.settings;
      const seeds = Array.from({ length: Number($("#num-videos").value) }, (_, index) => seed + index);
      const { jobs } = await this.#server.request("POST", "/api/jobs", { seeds });
      jobs.forEach((job) => store.setJob(job));
      store.look({ results: jobs.map((job) => job.id), playing: true });
      announce(jobs.length === 1 ? "The video is being made" : `${jobs.length} videos are being made`);
    });
  }

  #input(field) {
    const value = this.#value(field);
    if (field.name && field.name !== "num_frames" && value !== undefined)
      this.#store.update(this.#settings({ [field.name]: value }));
  }

  #change(field) {
    if (!field.name) return;
    const value = this.#value(field);
    if (value === undefined) this.#sayWrong(field);
    else if (field.name === "num_frames" && value !== this.#store.numFrames) this.#setFrames(value);
    this.#store.commit();
    this.#draw(true);
  }

  #sayWrong(field) {
    const name = field.labels[0].firstChild.textContent;
    say(`${name}: ${field.validationMessage || "a number is needed here."}`, { error: true, key: field.name });
  }

  #setFrames(numFrames) {
    const { objects } = this.#store.project;
    const cut = objects.map((object) => cutTo(object, numFrames));
    this.#store.change({ ...this.#settings({ num_frames: numFrames }), objects: cut });
    if (cut.some((object, index) => object !== objects[index])) {
      say(`Key frames after frame ${numFrames - 1} were removed.`, {
        action: { label: "Undo", run: () => this.#store.undo() },
      });
    }
  }

  // What a field says; undefined where it is not valid, null where it is empty and the model decides.
  #value(field) {
    if (!field.validity.valid && !field.validity.valueMissing) return undefined;
    if (field.type !== "number") return field.value;
    if (field.value !== "") return field.valueAsNumber;
    return ["guidance_scale", "width", "height"].includes(field.name) ? null : undefined;
  }

  #settings(change) {
    return { settings: { ...this.#store.project.settings, ...change } };
  }

  #draw(all = false) {
    const {
      project,
      facts: { model },
    } = this.#store;
    for (const field of this.#form.elements) {
      if (!(field.name in project.settings) || (field === document.activeElement && !all)) continue;
      const value = String(project.settings[field.name] ?? "");
      if (field.value !== value) field.value = value;
      if (field.type === "number") field.placeholder = model[field.name] ?? "";
    }
    const { prompt, width, height } = this.#form.elements;
    prompt.placeholder = describe(project.objects, this.#store.numFrames) || "A red circle that is moving right.";
    $("#suggest").hidden = Boolean(project.settings.prompt?.trim()) || !project.objects.length;
    for (const field of [width, height]) {
      if (model.size_multiple) Object.assign(field, { step: model.size_multiple, min: model.size_multiple });
    }
    $("#model").textContent = model.error
      ? "No model"
      : model.ready
        ? model.name === "sprites"
          ? "Built-in model"
          : "Model ready"
        : "Loading the model …";
    $("#model").title = model.error ?? model.name ?? "";
    this.#noteSize(project.image, project.settings.width ?? model.width, project.settings.height ?? model.height);
  }

  #noteSize(image, width, height) {
    const stretch = image && width && height ? image.width / image.height / (width / height) : 1;
    const note = $("#size-note");
    note.hidden = Math.abs(Math.log(stretch)) < 0.03;
    note.textContent = note.hidden
      ? ""
      : `The image (${image.width} × ${image.height}) has another shape than the video and will be squashed.`;
  }
}
