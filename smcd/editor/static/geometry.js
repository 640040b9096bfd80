// Boxes under a pointer: which one, which handle, and what dragging makes of it. All in the image's pixels.

export const HANDLES = {
  // name: [side of x, side of y], as indices into [x1, y1, x2, y2]; null where that side stays
  nw: [0, 1],
  n: [null, 1],
  ne: [2, 1],
  e: [2, null],
  se: [2, 3],
  s: [null, 3],
  sw: [0, 3],
  w: [0, null],
};
const SMALLEST = 1; // pixel of the image: a smaller box cannot be drawn

export function handlePoint(box, name) {
  const [x, y] = HANDLES[name];
  return [x === null ? (box[0] + box[2]) / 2 : box[x], y === null ? (box[1] + box[3]) / 2 : box[y]];
}

/** The handle of a box within `reach` of a point, corners first, or null. */
export function hitHandle(box, [x, y], reach) {
  const names = Object.keys(HANDLES).sort((a, b) => b.length - a.length);
  const small = Math.min(box[2] - box[0], box[3] - box[1]) < 3 * reach; // there, the middle is left for moving
  const near = (name) => {
    const [hx, hy] = handlePoint(box, name);
    return Math.abs(hx - x) <= reach && Math.abs(hy - y) <= reach;
  };
  const inner = small ? inside(shrink(box, 0.3), [x, y]) : false;
  return inner ? null : (names.find((name) => (small ? name.length === 2 : true) && near(name)) ?? null);
}

/** The index of the box under a point, the smallest where several are, or -1; `boxes` may hold nulls. */
export function hitBox(boxes, point) {
  let best = -1;
  boxes.forEach((box, index) => {
    if (box && inside(box, point) && (best < 0 || area(box) <= area(boxes[best]))) best = index;
  });
  return best;
}

export function moveBox(box, [dx, dy], size) {
  const [x, y] = [within(dx, box[0], box[2], size[0]), within(dy, box[1], box[3], size[1])];
  return rounded([box[0] + x, box[1] + y, box[2] + x, box[3] + y]);
}

/** `keepShape` (Shift) keeps width to height while a corner is dragged. */
export function resizeBox(box, name, [dx, dy], size, keepShape = false) {
  const next = [...box];
  const [sideX, sideY] = HANDLES[name];
  if (keepShape && sideX !== null && sideY !== null) {
    const [width, height] = [box[2] - box[0], box[3] - box[1]];
    const sx = sideX === 2 ? 1 : -1;
    const sy = sideY === 3 ? 1 : -1;
    const scale = Math.max((width + sx * dx) / width, (height + sy * dy) / height);
    [dx, dy] = [sx * width * (scale - 1), sy * height * (scale - 1)];
  }
  if (sideX !== null) next[sideX] = stop(box[sideX] + dx, sideX === 0, box, 0, size[0]);
  if (sideY !== null) next[sideY] = stop(box[sideY] + dy, sideY === 1, box, 1, size[1]);
  return rounded(next);
}

/** The box between two corners, inside the image. */
export function boxBetween([ax, ay], [bx, by], size) {
  const clip = (value, high) => Math.min(Math.max(value, 0), high);
  return rounded([
    clip(Math.min(ax, bx), size[0]),
    clip(Math.min(ay, by), size[1]),
    clip(Math.max(ax, bx), size[0]),
    clip(Math.max(ay, by), size[1]),
  ]);
}

export function isLarge(box, least = SMALLEST) {
  return box[2] - box[0] >= least && box[3] - box[1] >= least;
}

/** A box that keeps inside the image, at least one pixel large: for numbers that were typed or pasted. */
export function fitBox(box, size) {
  const fit = (low, high, length) => {
    const a = Math.min(Math.max(Math.min(low, high), 0), length - SMALLEST);
    return [a, Math.min(Math.max(high, low, a + SMALLEST), length)];
  };
  const [x1, x2] = fit(box[0], box[2], size[0]);
  const [y1, y2] = fit(box[1], box[3], size[1]);
  return rounded([x1, y1, x2, y2]);
}

/** Scale and offset that show an image of `size` in the middle of a `view`: {scale, x, y}. */
export function fitView(size, view, margin = 24) {
  const scale = Math.max(Math.min((view[0] - 2 * margin) / size[0], (view[1] - 2 * margin) / size[1]), 0.01);
  return { scale, x: (view[0] - size[0] * scale) / 2, y: (view[1] - size[1] * scale) / 2 };
}

/** Zoomed by a factor about a point of the view, which stays where it is. */
export function zoomed(view, factor, [x, y]) {
  const scale = Math.min(Math.max(view.scale * factor, 0.05), 64);
  const ratio = scale / view.scale;
  return { scale, x: x - (x - view.x) * ratio, y: y - (y - view.y) * ratio };
}

/** Tenths of a pixel: what a hand can mean, and what reads well in a file. */
export function rounded(box) {
  return box.map((value) => Math.round(value * 10) / 10);
}

// A box that reaches beyond the image already (from a file) may move back in, but not further out.
function within(step, low, high, length) {
  return Math.min(Math.max(step, Math.min(-low, 0)), Math.max(length - high, 0));
}

function stop(value, isLow, box, axis, length) {
  const [low, high] = [box[axis], box[axis + 2]];
  if (isLow) return Math.max(Math.min(value, high - SMALLEST), Math.min(0, low));
  return Math.min(Math.max(value, low + SMALLEST), Math.max(length, high));
}

function inside(box, [x, y]) {
  return x >= box[0] && x <= box[2] && y >= box[1] && y <= box[3];
}

function shrink([x1, y1, x2, y2], by) {
  return [x1 + (x2 - x1) * by, y1 + (y2 - y1) * by, x2 - (x2 - x1) * by, y2 - (y2 - y1) * by];
}

function area(box) {
  return (box[2] - box[0]) * (box[3] - box[1]);
}
