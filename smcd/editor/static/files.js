// What is opened: an image, a project, boxes of another tool, a video; picked, dropped, pasted, or an example.

import { $, make, oncePerFrame, say } from "./dom.js";

const ACCEPT = {
  image: "image/png,image/jpeg,image/webp,image/gif,image/bmp,image/tiff",
  project: ".zip,.json,.txt,.csv",
  video: "video/*,.mp4,.mov,.avi,.mkv,.webm,.gif",
};

export class Files {
  #store;
  #server;
  #onvideo;
  #examples = null;

  constructor(store, server, onvideo) {
    this.#store = store;
    this.#server = server;
    this.#onvideo = onvideo;
    const input = $("#file");
    for (const button of document.querySelectorAll("[data-pick]")) {
      button.addEventListener("click", () => {
        $("#open-menu").hidePopover();
        input.accept = ACCEPT[button.dataset.pick];
        input.value = "";
        input.click();
      });
    }
    input.addEventListener("change", () => input.files[0] && this.open(input.files[0]));
    addEventListener("dragover", (event) => {
      event.preventDefault();
      document.body.classList.add("dropping");
    });
    addEventListener(
      "dragleave",
      (event) => event.relatedTarget === null && document.body.classList.remove("dropping"),
    );
    addEventListener("drop", (event) => {
      event.preventDefault();
      document.body.classList.remove("dropping");
      const [file] = event.dataTransfer.files;
      if (file) this.open(file);
    });
    $("#save").addEventListener("click", (event) => this.#save(event));
    store.subscribe(oncePerFrame(() => this.#draw()));
  }

  /** Opens a file by its kind. */
  open(file) {
    const limit = this.#store.facts.limits.bytes;
    if (limit && file.size > limit)
      return void say(`${file.name} is larger than ${Math.round(limit / 2 ** 20)} MB.`, { error: true });
    const name = encodeURIComponent(file.name);
    return this.#server.attempt(async () => {
      if (file.type.startsWith("video/") || /\.(avi|mkv|mov|mp4|webm)$/i.test(file.name)) return this.#onvideo(file);
      const path = file.type.startsWith("image/") || !file.name ? "/api/image" : `/api/open?name=${name}`;
      await this.#server.replace(path, file);
      this.#store.look({ frame: 0, playing: false, results: [], selected: this.#store.project.objects[0]?.id ?? null });
    });
  }

  #example(name) {
    if ($("#open-menu").matches(":popover-open")) $("#open-menu").hidePopover();
    return this.#server.attempt(async () => {
      await this.#server.replace(`/api/examples/${encodeURIComponent(name)}`);
      const { objects } = this.#store.project;
      this.#store.look({ frame: 0, playing: true, results: [], selected: objects[0]?.id ?? null });
    });
  }

  // The link would load an error of the server as a page: what is not saved yet is saved first.
  #save(event) {
    event.preventDefault();
    this.#server.attempt(async () => {
      await this.#server.flush();
      make("a", { href: "/api/project.zip", download: "project.zip" }).click();
    });
  }

  #draw() {
    const { project, facts } = this.#store;
    $("#start").hidden = project.image !== null;
    if (this.#examples === facts.examples) return;
    this.#examples = facts.examples;
    for (const list of document.querySelectorAll(".examples")) {
      list.replaceChildren(
        ...facts.examples.map((name) => {
          const path = `/api/examples/${encodeURIComponent(name)}/image`;
          const picture = make("img", { src: path, alt: "", onerror: (event) => event.target.remove() });
          return make(
            "button",
            { type: "button", onclick: () => this.#example(name) },
            picture,
            make("span", {}, name),
          );
        }),
      );
    }
  }
}
