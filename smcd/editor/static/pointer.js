// What mouse, pen and fingers do on the image: draw, move, resize, record a path, pan and pinch.

import { announce, say } from "./dom.js";
import { boxBetween, hitBox, hitHandle, isLarge, moveBox, resizeBox } from "./geometry.js";
import { boxAt, withBox } from "./key_frames.js";
import { keysFromPath, withMotion } from "./motion.js";

const CURSORS = {
  nw: "nwse-resize",
  se: "nwse-resize",
  ne: "nesw-resize",
  sw: "nesw-resize",
  n: "ns-resize",
  s: "ns-resize",
  e: "ew-resize",
  w: "ew-resize",
};
const REACH = { mouse: 7, pen: 10, touch: 18 }; // pixels of the screen around a handle
const LEAST = 4; // pixels of the screen that a drawn box has at least

export class Pointer {
  /** `held` tells which keys are down; `ondrawn(object)` follows a new object. */
  constructor(canvas, store, held, ondrawn) {
    Object.assign(this, { canvas, store, held, ondrawn, drag: null, touches: new Map() });
    const { element } = canvas;
    element.addEventListener("pointerdown", (event) => this.down(event));
    element.addEventListener("pointermove", (event) => this.move(event));
    element.addEventListener("pointerup", (event) => this.up(event));
    element.addEventListener("pointercancel", (event) => this.up(event, true));
    element.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        canvas.zoom(1.0015 ** -event.deltaY, event);
      },
      { passive: false },
    );
  }

  down(event) {
    const { store, canvas } = this;
    if (event.target.closest("button") || !store.project.image || event.button > 1) return;
    event.preventDefault();
    canvas.element.focus({ preventScroll: true });
    canvas.element.setPointerCapture(event.pointerId);
    this.touches.set(event.pointerId, event);
    if (this.touches.size === 2) {
      this.cancel();
      this.drag = { move: (moved) => this.pinch(moved) };
    } else if (event.button === 1 || this.held.has("Space")) {
      this.held.add("panned");
      this.drag = { move: (moved) => canvas.pan(moved.movementX, moved.movementY) };
    } else {
      if (store.view.playing) store.look({ playing: false });
      this.drag = this.start(event);
    }
  }

  move(event) {
    if (!this.drag) return this.showCursor(event);
    this.drag.move?.(event);
    if (this.touches.has(event.pointerId)) this.touches.set(event.pointerId, event);
  }

  up(event, isCancelled = false) {
    this.touches.delete(event.pointerId);
    const { drag } = this;
    this.drag = null;
    if (!drag) return;
    if (isCancelled) this.store.cancel();
    else drag.end?.(event);
  }

  /** Takes back the drag that goes on. */
  cancel() {
    this.drag = null;
    this.store.cancel();
  }

  start(event) {
    const { store } = this;
    const point = this.canvas.toImage(event);
    const tool = this.held.has("KeyR") ? "record" : store.view.tool;
    if (tool === "draw") return this.draw(point);
    const { handle, object } = this.under(event);
    if (tool === "record") return this.record(point, object ?? store.selected, event);
    if (handle)
      return this.edit(store.selected, (box, by, shift) => resizeBox(box, handle, by, store.size, shift), point);
    if (!object) return this.draw(point);
    store.look({ selected: object.id });
    return this.edit(object, (box, by) => moveBox(box, by, store.size), point);
  }

  /** The handle of the selected object, or the object, under the pointer. */
  under(event) {
    const { store } = this;
    const point = this.canvas.toImage(event);
    const { frame, selected } = store.view;
    const boxes = store.project.objects.map((object) => (object.hidden ? null : boxAt(object, frame)));
    const own = boxes[store.project.objects.findIndex((object) => object.id === selected)];
    const handle = own ? hitHandle(own, point, REACH[event.pointerType] / this.canvas.place.scale) : null;
    return { handle, object: store.project.objects[hitBox(boxes, point)] ?? null };
  }

  edit(object, change, from) {
    const { store } = this;
    const { frame } = store.view;
    const box = boxAt(object, frame);
    return {
      move: (event) => {
        const to = this.canvas.toImage(event);
        const next = change(box, [to[0] - from[0], to[1] - from[1]], event.shiftKey);
        store.update(store.with(withBox(object, frame, next)));
      },
      end: () => store.commit(),
    };
  }

  draw(from) {
    const { store } = this;
    const { selected } = store;
    const { frame } = store.view;
    const isBack = selected && !selected.hidden && boxAt(selected, frame) === null && store.view.tool !== "draw";
    const before = store.project.objects;
    const object = isBack ? selected : store.newObject({ phrase: freeName(before) });
    let isDrawn = false;
    return {
      move: (event) => {
        const box = boxBetween(from, this.canvas.toImage(event), store.size);
        if (!isLarge(box, Math.max(LEAST / this.canvas.place.scale, 1))) return;
        isDrawn = true;
        const next = withBox(object, frame, box);
        store.update({
          objects: isBack ? before.map((other) => (other === object ? next : other)) : [...before, next],
        });
        if (store.view.selected !== object.id) store.look({ selected: object.id });
      },
      end: () => {
        if (!isDrawn) return store.look({ selected: null });
        store.commit();
        store.look({ tool: "select" });
        if (!isBack) this.ondrawn(store.selected);
      },
    };
  }

  record(from, object, down) {
    const { store } = this;
    const { frame } = store.view;
    const box = object && boxAt(object, frame);
    const last = store.numFrames - 1;
    if (!box) return void say("Put the pointer on the box whose motion you want to record.");
    if (frame === last)
      return void say("A motion is recorded from the playhead on: move the playhead before the last frame.");
    store.look({ selected: object.id });
    const samples = [{ time: down.timeStamp, box }];
    return {
      move: (event) => {
        const to = this.canvas.toImage(event);
        const next = moveBox(box, [to[0] - from[0], to[1] - from[1]], store.size);
        samples.push({ time: event.timeStamp, box: next });
        store.update(store.with(withBox(object, frame, next)));
      },
      end: () => {
        store.cancel();
        if (samples.length < 3) return;
        const keys = keysFromPath(samples, frame, last, Math.max(...store.size) / 150);
        store.change(store.with(withMotion(object, keys)));
        store.look({ tool: "select" });
        announce(`Recorded ${Object.keys(keys).length} key frames`);
      },
    };
  }

  pinch(event) {
    const [a, b] = [...this.touches.values()];
    if (!b || !this.touches.has(event.pointerId)) return;
    const other = event.pointerId === a.pointerId ? b : a;
    const old = this.touches.get(event.pointerId);
    const distance = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY) || 1;
    this.canvas.zoom(distance(event) / distance(old), {
      clientX: (event.clientX + other.clientX) / 2,
      clientY: (event.clientY + other.clientY) / 2,
    });
    this.canvas.pan((event.clientX - old.clientX) / 2, (event.clientY - old.clientY) / 2);
  }

  showCursor(event) {
    const { tool } = this.store.view;
    const { handle, object } = this.store.project.image ? this.under(event) : {};
    let cursor = handle ? CURSORS[handle] : object ? "move" : "crosshair";
    if (tool !== "select") cursor = "crosshair";
    if (this.held.has("Space")) cursor = "grab";
    this.canvas.element.style.cursor = this.store.project.image ? cursor : "default";
  }
}

export function freeName(objects) {
  let number = objects.length + 1;
  while (objects.some((object) => object.phrase === `object ${number}`)) number++;
  return `object ${number}`;
}
