// Play, frames and key frames: the buttons between the image and the time line, and the clock behind Play.

import { $, icon, oncePerFrame, say } from "./dom.js";
import { boxAt, hasBox, keyFrames, segmentAt, withAbsence, withBox, withEasing, withoutKey } from "./key_frames.js";
import { pasteMotion } from "./motion.js";

export class Transport {
  #store;
  #copied = null; // the object whose motion was copied
  #clock = null;
  ondelete;

  constructor(store, ondelete) {
    this.#store = store;
    this.ondelete = ondelete;
    const click = (id, action) => $(id).addEventListener("click", action);
    click("#play", () => this.play());
    click("#back", () => this.step(-1));
    click("#forward", () => this.step(1));
    click("#back-key", () => this.stepKey(-1));
    click("#forward-key", () => this.stepKey(1));
    click("#loop", () => store.look({ loop: !store.view.loop }));
    click("#toggle-key", () => this.toggleKey());
    click("#absent", () => this.absent());
    click("#copy-motion", () => this.copy());
    click("#paste-motion", () => this.paste());
    $("#speed").addEventListener("change", (event) => store.look({ speed: Number(event.target.value) }));
    $("#easing").addEventListener("change", (event) => this.#ease(event.target.value));
    store.subscribe(oncePerFrame(() => this.#draw()));
    store.subscribe(() => store.view.playing && this.#clock === null && this.#run());
  }

  play() {
    const { view, numFrames } = this.#store;
    const isAtEnd = !view.loop && view.frame === numFrames - 1;
    this.#store.look({ playing: !view.playing, frame: !view.playing && isAtEnd ? 0 : view.frame });
  }

  step(by) {
    const { view, numFrames } = this.#store;
    this.#store.look({ playing: false, frame: Math.min(Math.max(view.frame + by, 0), numFrames - 1) });
  }

  /** To the next key frame of the selected object, or of all where none is selected. */
  stepKey(direction) {
    const { selected, project, view } = this.#store;
    const keys = (selected ? [selected] : project.objects).flatMap(keyFrames).sort((a, b) => direction * (a - b));
    const next = keys.find((key) => direction * (key - view.frame) > 0);
    if (next !== undefined) this.#store.look({ playing: false, frame: next });
  }

  toggleKey() {
    const {
      selected: object,
      view: { frame },
    } = this.#store;
    if (!object) return;
    const isKey = frame in object.boxes;
    const next = isKey ? withoutKey(object, frame) : withBox(object, frame, boxAt(object, frame));
    if (!hasBox(next)) this.ondelete();
    else this.#store.change(this.#store.with(next));
  }

  absent() {
    const {
      selected: object,
      view: { frame },
    } = this.#store;
    if (!object) return;
    const next = withAbsence(object, frame);
    if (hasBox(next)) this.#store.change(this.#store.with(next));
    else say("This is its only box. Move the playhead to the frame in which it leaves, or delete the object.");
  }

  copy() {
    this.#copied = this.#store.selected;
    if (this.#copied) say(`Copied the motion of ${this.#copied.phrase}. Select another object and paste.`);
    this.#draw();
    return this.#copied;
  }

  paste(source = this.#copied) {
    const { selected, view, numFrames, project } = this.#store;
    if (!source) return;
    if (selected) return this.#store.change(this.#store.with(pasteMotion(selected, source, view.frame, numFrames)));
    const object = this.#store.newObject({ phrase: source.phrase, boxes: source.boxes, easing: source.easing });
    this.#store.change({ objects: [...project.objects, object] });
    this.#store.look({ selected: object.id });
  }

  #ease(name) {
    const { selected: object, view } = this.#store;
    const [start] = segmentAt(object, view.frame);
    this.#store.change(this.#store.with(withEasing(object, start, name)));
  }

  #run() {
    let last = performance.now();
    let passed = 0;
    const tick = (now) => {
      const { view, project, numFrames } = this.#store;
      this.#clock = view.playing ? requestAnimationFrame(tick) : null;
      if (!view.playing) return;
      passed += ((now - last) / 1000) * project.settings.fps * view.speed;
      last = now;
      const steps = Math.floor(passed);
      if (!steps) return;
      passed -= steps;
      const frame = view.frame + steps;
      if (frame < numFrames || view.loop) this.#store.look({ frame: frame % numFrames });
      else this.#store.look({ frame: numFrames - 1, playing: false });
    };
    this.#clock = requestAnimationFrame(tick);
  }

  #draw() {
    const { view, numFrames, selected } = this.#store;
    $("#counter").textContent = `${view.frame} / ${numFrames - 1}`;
    $("#counter").setAttribute("aria-label", `Frame ${view.frame}, the last is ${numFrames - 1}`);
    const play = $("#play");
    if (play.dataset.playing !== String(view.playing)) {
      play.dataset.playing = view.playing;
      play.replaceChildren(icon(view.playing ? "pause" : "play"));
      play.setAttribute("aria-label", view.playing ? "Pause" : "Play");
    }
    $("#loop").setAttribute("aria-pressed", view.loop);
    const isKey = selected !== null && view.frame in selected.boxes;
    $("#toggle-key").setAttribute("aria-pressed", isKey);
    $("#absent").setAttribute("aria-pressed", isKey && selected.boxes[view.frame] === null);
    for (const id of ["#toggle-key", "#absent", "#copy-motion"]) $(id).disabled = !selected;
    $("#paste-motion").disabled = !this.#copied;
    const [start, end] = selected ? segmentAt(selected, view.frame) : [null, null];
    const easing = $("#easing");
    easing.disabled = !(start !== null && end !== null && selected.boxes[start] && selected.boxes[end]);
    easing.value = easing.disabled ? "linear" : (selected.easing[start] ?? "linear");
  }
}
