// The time line: a row for each object, a bar where it is present, a diamond for each key frame, and the playhead.

import { $, icon, make, oncePerFrame, show } from "./dom.js";
import { keyFrames, presence, withKeyMoved, withoutKey, hasBox } from "./key_frames.js";

const LEAST = 12; // pixels of a frame's column

export class Timeline {
  #store;
  #rows = make("div", { class: "rows" });
  #ruler = make("div", {
    class: "ruler",
    role: "slider",
    tabindex: "0",
    "aria-label": "Playhead",
    "aria-valuemin": "0",
  });
  #playhead = make("div", { class: "playhead" });
  #numFrames = 0;
  #drag = null; // what a pointer that is down does

  constructor(element, store, ondelete) {
    this.element = element;
    this.#store = store;
    this.ondelete = ondelete;
    element.append(make("div", { class: "sheet" }, this.#ruler, this.#rows, this.#playhead));
    element.addEventListener("pointerdown", (event) => this.#down(event));
    element.addEventListener("pointermove", (event) => this.#drag?.(event));
    for (const name of ["pointerup", "pointercancel"]) element.addEventListener(name, () => this.#up());
    element.addEventListener("keydown", (event) => this.#key(event));
    const draw = oncePerFrame(() => this.#draw());
    new ResizeObserver(draw).observe(element);
    store.subscribe(draw);
  }

  #draw() {
    const { numFrames, project, view } = this.#store;
    const sheet = this.element.firstChild;
    if (numFrames !== this.#numFrames) {
      this.#numFrames = numFrames;
      sheet.style.setProperty("--frames", numFrames);
      sheet.style.setProperty("--least", `${LEAST}px`);
      for (const row of this.#rows.children) row.shown = null;
      this.#drawRuler();
    }
    show(
      this.#rows,
      project.objects,
      (object) => object.id,
      (object) => this.#row(object),
    );
    for (const row of this.#rows.children) row.classList.toggle("selected", row.dataset.key === String(view.selected));
    for (const key of this.#rows.querySelectorAll(".key")) {
      const isHere = Number(key.dataset.frame) === view.frame;
      key.classList.toggle("here", isHere);
      key.tabIndex = key.closest(".row").classList.contains("selected") ? 0 : -1;
    }
    this.#playhead.style.setProperty("--frame", view.frame);
    this.#ruler.setAttribute("aria-valuemax", numFrames - 1);
    this.#ruler.setAttribute("aria-valuenow", view.frame);
    this.#ruler.setAttribute("aria-valuetext", `Frame ${view.frame}, the last is ${numFrames - 1}`);
    this.#follow();
  }

  #drawRuler() {
    const column = Math.max((this.element.clientWidth - 140) / this.#numFrames, LEAST);
    const every = [1, 2, 4, 5, 8, 10, 16, 20, 25, 50, 100].find((step) => step * column >= 30) ?? 200;
    const ticks = [];
    for (let frame = 0; frame < this.#numFrames; frame += every) {
      const tick = make("span", { class: "tick" }, String(frame));
      tick.style.setProperty("--frame", frame);
      ticks.push(tick);
    }
    this.#ruler.replaceChildren(make("span", { class: "corner" }, "Frame"), make("span", { class: "track" }, ...ticks));
  }

  #row(object) {
    const track = make("div", { class: "track" });
    const place = (element, from, to) => {
      element.style.setProperty("--frame", from);
      element.style.setProperty("--length", to - from + 1);
      track.append(element);
    };
    for (const [from, to] of presence(object, this.#numFrames)) place(make("span", { class: "bar-present" }), from, to);
    const keys = keyFrames(object);
    keys.forEach((frame, index) => {
      const easing = object.easing[frame];
      if (easing && object.boxes[frame] && object.boxes[keys[index + 1]]) {
        place(make("span", { class: "ease" }, icon(`ease-${easing}`)), frame, keys[index + 1]);
      }
    });
    for (const frame of keys) {
      const label = object.boxes[frame]
        ? `${object.phrase}: key frame ${frame}`
        : `${object.phrase}: absent from frame ${frame}`;
      place(
        make("button", {
          type: "button",
          class: object.boxes[frame] ? "key" : "key none",
          "aria-label": label,
          title: label,
          "data-frame": frame,
          "data-focus": `key ${frame}`,
        }),
        frame,
        frame,
      );
    }
    const name = make(
      "button",
      { type: "button", class: "name", tabindex: "-1", title: object.phrase },
      make("span", { class: "dot" }),
      make("span", {}, object.phrase),
    );
    const row = make(
      "div",
      { class: object.hidden ? "row hidden" : "row", role: "group", "aria-label": object.phrase },
      name,
      track,
    );
    row.style.setProperty("--color", object.color);
    return row;
  }

  #frameAt(event) {
    const track = this.#ruler.querySelector(".track").getBoundingClientRect();
    const frame = Math.floor(((event.clientX - track.left) / track.width) * this.#numFrames);
    return Math.min(Math.max(frame, 0), this.#numFrames - 1);
  }

  #down(event) {
    if (event.button !== 0 || !event.target.closest(".sheet")) return;
    const store = this.#store;
    const row = event.target.closest(".row");
    const key = event.target.closest(".key");
    const object = store.project.objects.find(({ id }) => String(id) === row?.dataset.key);
    if (object) store.look({ selected: object.id });
    if (event.target.closest(".name") || (!row && !event.target.closest(".ruler"))) return;
    this.element.setPointerCapture(event.pointerId);
    store.look({ playing: false, frame: this.#frameAt(event) });
    this.#drag = (moved) => store.look({ frame: this.#frameAt(moved) });
    if (!key) return;
    const from = Number(key.dataset.frame);
    key.focus();
    this.#drag = (moved) => {
      const to = this.#frameAt(moved);
      store.update(store.with(withKeyMoved(object, from, to)));
      store.look({ frame: to });
    };
  }

  #up() {
    this.#drag = null;
    this.#store.commit();
  }

  #key(event) {
    const store = this.#store;
    const { frame } = store.view;
    const last = store.numFrames - 1;
    const key = event.target.closest(".key");
    if (key && (event.key === "Delete" || event.key === "Backspace")) this.#remove(Number(key.dataset.frame));
    else if (key && (event.key === "Enter" || event.key === " ")) store.look({ frame: Number(key.dataset.frame) });
    else if (
      event.target === this.#ruler &&
      { ArrowLeft: 1, ArrowRight: 1, Home: 1, End: 1, PageUp: 1, PageDown: 1 }[event.key]
    ) {
      const next = {
        ArrowLeft: frame - 1,
        ArrowRight: frame + 1,
        PageUp: frame - 8,
        PageDown: frame + 8,
        Home: 0,
        End: last,
      }[event.key];
      store.look({ playing: false, frame: Math.min(Math.max(next, 0), last) });
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #remove(frame) {
    const object = withoutKey(this.#store.selected, frame);
    if (hasBox(object)) this.#store.change(this.#store.with(object));
    else this.ondelete();
  }

  // Keeps the playhead in sight where the time line is wider than its place.
  #follow() {
    if (this.element.scrollWidth <= this.element.clientWidth || this.#drag) return;
    const track = $(".track", this.#ruler);
    const x = track.offsetLeft + ((this.#store.view.frame + 0.5) / this.#numFrames) * track.clientWidth;
    const [low, high] = [
      this.element.scrollLeft + track.offsetLeft,
      this.element.scrollLeft + this.element.clientWidth - 20,
    ];
    if (x < low || x > high) this.element.scrollLeft = x - this.element.clientWidth / 2;
  }
}
