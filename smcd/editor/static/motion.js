// Motions as a whole: recorded along a path, copied from one object to another, and put into words.

import { boxAt, keyFrames } from "./key_frames.js";

/**
 * A path drawn by hand as key frames from `start` to `end`: the pace of the hand is kept, stretched over the frames.
 * `samples` are {time, box}; keys that lie within `tolerance` pixels of the line between others are left out.
 */
export function keysFromPath(samples, start, end, tolerance) {
  const duration = samples.at(-1).time - samples[0].time || 1;
  const track = [];
  let next = 0;
  for (let frame = start; frame <= end; frame++) {
    const time = samples[0].time + (end === start ? 1 : (frame - start) / (end - start)) * duration;
    while (next < samples.length - 2 && samples[next + 1].time < time) next++;
    const [a, b] = [samples[next], samples[Math.min(next + 1, samples.length - 1)]];
    const t = b.time > a.time ? Math.min(Math.max((time - a.time) / (b.time - a.time), 0), 1) : 1;
    track.push(a.box.map((value, side) => (1 - t) * value + t * b.box[side]));
  }
  const kept = simplify(track, tolerance);
  return Object.fromEntries(kept.map((index) => [start + index, track[index]]));
}

/** Indices of a track (a box for each frame) whose linear interpolation stays within `tolerance` of all its boxes. */
export function simplify(track, tolerance) {
  const kept = new Set([0, track.length - 1]);
  const pending = [[0, track.length - 1]];
  while (pending.length) {
    const [first, last] = pending.pop();
    let worst = tolerance;
    let at = null;
    for (let index = first + 1; index < last; index++) {
      const t = (index - first) / (last - first);
      const off = Math.max(
        ...track[index].map((value, side) => Math.abs(value - ((1 - t) * track[first][side] + t * track[last][side]))),
      );
      if (off > worst) [worst, at] = [off, index];
    }
    if (at !== null) {
      kept.add(at);
      pending.push([first, at], [at, last]);
    }
  }
  return [...kept].sort((a, b) => a - b);
}

/** Replaces the keys of an object from the first to the last frame of `keys`. */
export function withMotion(object, keys, easing = {}) {
  const frames = Object.keys(keys).map(Number);
  const [first, last] = [Math.min(...frames), Math.max(...frames)];
  const outside = (entries) => Object.fromEntries(Object.entries(entries ?? {}).filter(([k]) => k < first || k > last));
  return { ...object, boxes: { ...outside(object.boxes), ...keys }, easing: { ...outside(object.easing), ...easing } };
}

/**
 * The motion of `source` given to `object` from a frame on: the object starts where it is, as large as it is, and goes
 * where the source went. An object that is absent there takes the source's boxes as they are.
 */
export function pasteMotion(object, source, frame, numFrames) {
  const from = keyFrames(source);
  const first = source.boxes[from.find((key) => source.boxes[key])];
  const start = boxAt(object, frame);
  const move = (box) => (start && box ? follow(start, first, box) : box);
  const shift = (entries, change) =>
    Object.fromEntries(
      Object.entries(entries ?? {})
        .map(([key, value]) => [Number(key) - from[0] + frame, change(value)])
        .filter(([key]) => key < numFrames),
    );
  return withMotion(
    object,
    shift(source.boxes, move),
    shift(source.easing, (name) => name),
  );
}

function follow(start, first, box) {
  const [width, height] = [(box[2] - box[0]) / (first[2] - first[0]), (box[3] - box[1]) / (first[3] - first[1])];
  const half = [((start[2] - start[0]) * width) / 2, ((start[3] - start[1]) * height) / 2];
  const center = [0, 1].map(
    (axis) => (start[axis] + start[axis + 2] + box[axis] + box[axis + 2] - first[axis] - first[axis + 2]) / 2,
  );
  return [center[0] - half[0], center[1] - half[1], center[0] + half[0], center[1] + half[1]];
}

/** A prompt that says what the boxes do: "A blue star that is moving right and a dog that is moving left." */
export function describe(objects, numFrames) {
  const parts = objects
    .filter((object) => object.phrase.trim())
    .map((object) => {
      const there = keyFrames(object).filter((key) => object.boxes[key]);
      const name = /^(a|an|the) /i.test(object.phrase)
        ? object.phrase
        : `${/^[aeiou]/i.test(object.phrase) ? "an" : "a"} ${object.phrase}`;
      return `${name} that is ${direction(boxAt(object, there[0]), boxAt(object, Math.min(there.at(-1), numFrames - 1)))}`;
    });
  const text = parts.join(" and ");
  return text && `${text[0].toUpperCase()}${text.slice(1)}.`;
}

function direction(a, b) {
  const [right, down] = [0, 1].map((axis) => (b[axis] + b[axis + 2] - a[axis] - a[axis + 2]) / 2);
  const enough = 0.25 * Math.min(a[2] - a[0], a[3] - a[1]);
  if (Math.max(Math.abs(right), Math.abs(down)) < enough) return "standing still";
  if (Math.abs(right) >= Math.abs(down)) return right > 0 ? "moving right" : "moving left";
  return down > 0 ? "moving down" : "moving up";
}
