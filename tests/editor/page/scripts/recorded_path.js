// A circle, recorded over frames 3 to 66: how far its key frames lead astray, and which these are.
async () => {
const { keysFromPath } = await import("/static/motion.js");
const { boxAt } = await import("/static/key_frames.js");
const at = (t) => [100 + 80 * Math.cos(6 * t), 100 + 80 * Math.sin(6 * t), 140 + 80 * Math.cos(6 * t), 140 + 80 * Math.sin(6 * t)];
const samples = Array.from({ length: 400 }, (_, i) => ({ time: i, box: at(i / 399) }));
const boxes = keysFromPath(samples, 3, 66, 2);
const off = Array.from({ length: 64 }, (_, i) => boxAt({ boxes }, 3 + i).map((v, side) => Math.abs(v - at(i / 63)[side])));
return [Math.max(...off.flat()), Object.keys(boxes).map(Number)];
}
