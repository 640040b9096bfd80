// Notes, from here on, the milliseconds from each mouse move to the end of the drawing that shows it.
() => {
window.times = [];
let moved = null;
addEventListener("pointermove", (event) => { moved ??= event.timeStamp; }, true);
const draw = Konva.Layer.prototype.drawScene;
Konva.Layer.prototype.drawScene = function (...values) {
  const result = draw.apply(this, values);
  if (moved !== null && this === Konva.stages[0].getLayers().at(-1)) {
    times.push(performance.now() - moved);
    moved = null;
  }
  return result;
};
}
