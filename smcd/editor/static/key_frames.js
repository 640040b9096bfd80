// Key frames of an object and the boxes between them; the numbers equal those of smcd/data/key_frames.py bit by bit.
//
// An object is {id, phrase, boxes, easing, color, hidden}: `boxes` maps a frame to [x1, y1, x2, y2] in the image's
// pixels, or to null where the object becomes absent; `easing` maps the frame that starts a segment to its easing.
// Objects are never changed in place: every edit returns a new one.

export const EASINGS = {
  linear: (t) => t,
  in: (t) => t * t,
  out: (t) => t * (2 - t),
  "in-out": (t) => t * t * (3 - 2 * t),
};

/** The frames of the keys, ascending. */
export function keyFrames(object) {
  return Object.keys(object.boxes)
    .map(Number)
    .sort((a, b) => a - b);
}

/** The first and last key around a frame: [start, end], with null where there is none; `start` may be the frame itself. */
export function segmentAt(object, frame) {
  let start = null;
  for (const key of keyFrames(object)) {
    if (key > frame) return [start, key];
    start = key;
  }
  return [start, null];
}

/** The box at a frame, or null where the object is absent. */
export function boxAt(object, frame) {
  const [start, end] = segmentAt(object, frame);
  const first = start === null ? null : object.boxes[start];
  if (!first) return null;
  const last = end === null ? null : object.boxes[end];
  if (!last || frame === start) return [...first];
  const ease = EASINGS[object.easing?.[start] ?? "linear"];
  const s = ease((frame - start) / (end - start));
  return first.map((a, side) => (1 - s) * a + s * last[side]);
}

/** A box or null for each frame. */
export function interpolate(object, numFrames) {
  return Array.from({ length: numFrames }, (_, frame) => boxAt(object, frame));
}

/** The stretches in which the object is present: [[first frame, last frame], ...]. */
export function presence(object, numFrames) {
  const stretches = [];
  let start = null;
  for (const key of [...keyFrames(object), numFrames]) {
    const there = key < numFrames && object.boxes[key] !== null;
    if (there && start === null) start = key;
    if (!there && start !== null) {
      stretches.push([start, key - 1]);
      start = null;
    }
  }
  return stretches;
}

export function withBox(object, frame, box) {
  return { ...object, boxes: { ...object.boxes, [frame]: box && box.map(Number) } };
}

/** Absent from this frame to the next box; a key that says so already is removed. */
export function withAbsence(object, frame) {
  return object.boxes[frame] === null ? withoutKey(object, frame) : withBox(object, frame, null);
}

export function withoutKey(object, frame) {
  return without(object, (key) => key === frame);
}

export function withEasing(object, start, name) {
  const { [start]: _, ...easing } = object.easing ?? {};
  return { ...object, easing: name === "linear" ? easing : { ...easing, [start]: name } };
}

/** Moves a key in time; a key that stands there gives way. */
export function withKeyMoved(object, from, to) {
  if (from === to || !(from in object.boxes)) return object;
  const moved = withBox(withoutKey(object, from), to, object.boxes[from]);
  return withEasing(moved, to, object.easing?.[from] ?? "linear");
}

/** Cut to a number of frames: the last frame keeps the box that it shows. */
export function cutTo(object, numFrames) {
  if (keyFrames(object).every((key) => key < numFrames)) return object;
  const last = numFrames - 1;
  const [, end] = segmentAt(object, last);
  const kept = object.boxes[last] === undefined && end !== null ? withBox(object, last, boxAt(object, last)) : object;
  const cut = without(kept, (key) => key >= numFrames);
  if (hasBox(cut)) return cut;
  return withBox(cut, last, object.boxes[keyFrames(object).find((key) => object.boxes[key])]);
}

/** Whether there is a frame with a box: an object without one cannot be saved. */
export function hasBox(object) {
  return Object.values(object.boxes).some((box) => box !== null);
}

function without(object, matches) {
  const keep = (entries) => Object.fromEntries(Object.entries(entries ?? {}).filter(([key]) => !matches(Number(key))));
  return { ...object, boxes: keep(object.boxes), easing: keep(object.easing) };
}
