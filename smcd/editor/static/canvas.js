// The image with its boxes, drawn with Konva: what stands in the store at the playhead, in the pixels of the screen.

import { oncePerFrame } from "./dom.js";
import { fitView, handlePoint, HANDLES, zoomed } from "./geometry.js";
import { boxAt, keyFrames } from "./key_frames.js";

Konva.autoDrawEnabled = false; // #draw says when
const PIXELATED = 3; // from this scale on, the image's pixels are shown as squares

export class Canvas {
  /** `place` (scale, x, y) is how the image lies in the view. */
  place = { scale: 1, x: 0, y: 0 };
  #store;
  #stage;
  #imageLayer = new Konva.Layer({ listening: false });
  #boxLayer = new Konva.Layer({ listening: false });
  #picture = new Konva.Image({ listening: false });
  #frame = new Konva.Rect({ stroke: "rgba(127, 127, 127, 0.6)", strokeWidth: 1 });
  #figures = new Map(); // id -> nodes of an object
  #shown = null; // the project image that is drawn
  #isFitted = true; // until the user zooms
  #onplace;

  constructor(element, store, onplace) {
    this.element = element;
    this.#store = store;
    this.#onplace = onplace;
    this.#stage = new Konva.Stage({ container: element, width: 1, height: 1, listening: false });
    this.#stage.add(this.#imageLayer, this.#boxLayer);
    this.#imageLayer.add(this.#picture, this.#frame);
    this.draw = oncePerFrame(() => this.#draw());
    new ResizeObserver(() => this.#resize()).observe(element);
    store.subscribe(this.draw);
  }

  /** A point of the screen in the image's pixels. */
  toImage(event) {
    const edge = this.element.getBoundingClientRect();
    const { scale, x, y } = this.place;
    return [(event.clientX - edge.left - x) / scale, (event.clientY - edge.top - y) / scale];
  }

  fit() {
    this.#isFitted = true;
    this.#setPlace(
      fitView(this.#store.size, [this.#stage.width(), this.#stage.height()], this.#stage.width() < 500 ? 12 : 28),
    );
  }

  zoom(factor, event) {
    const edge = this.element.getBoundingClientRect();
    const about = event ? [event.clientX - edge.left, event.clientY - edge.top] : [edge.width / 2, edge.height / 2];
    this.#isFitted = false;
    this.#setPlace(zoomed(this.place, factor, about));
  }

  pan(dx, dy) {
    this.#isFitted = false;
    this.#setPlace({ ...this.place, x: this.place.x + dx, y: this.place.y + dy });
  }

  #setPlace(place) {
    this.place = place;
    this.#imageLayer.imageSmoothingEnabled(place.scale < PIXELATED);
    this.#onplace(place);
    this.draw();
  }

  #resize() {
    const { clientWidth: width, clientHeight: height } = this.element;
    if (!width || !height) return;
    this.#stage.size({ width, height });
    if (this.#isFitted) this.fit();
    else this.draw();
  }

  #show(image) {
    const hadSize = this.#shown && image && this.#shown.width === image.width && this.#shown.height === image.height;
    this.#shown = image;
    this.#picture.image(null);
    if (!image) return;
    const element = new Image();
    element.onload = () => {
      if (this.#shown !== image) return;
      this.#picture.image(element);
      this.draw();
    };
    element.src = image.url;
    if (!hadSize) this.fit();
  }

  #draw() {
    const { image, objects } = this.#store.project;
    if (image !== this.#shown) this.#show(image);
    const { scale, x, y } = this.place;
    const [width, height] = this.#store.size;
    for (const node of [this.#picture, this.#frame]) {
      node.setAttrs({ x, y, width: width * scale, height: height * scale, visible: image !== null });
    }
    const gone = new Set(this.#figures.keys());
    for (const object of image ? objects : []) {
      gone.delete(object.id);
      this.#drawObject(object);
    }
    for (const id of gone) {
      this.#figures.get(id).group.destroy();
      this.#figures.delete(id);
    }
    const selected = this.#figures.get(this.#store.view.selected);
    selected?.group.moveToTop();
    this.#imageLayer.draw();
    this.#boxLayer.draw();
  }

  #drawObject(object) {
    const { frame, selected, playing } = this.#store.view;
    const figure = this.#figures.get(object.id) ?? this.#newFigure(object.id);
    figure.group.visible(!object.hidden);
    if (object.hidden) return;
    const isSelected = object.id === selected;
    figure.trail.visible(!playing || isSelected);
    figure.trail.setAttrs({ object, isSelected, opacity: isSelected ? 1 : 0.35 });
    const box = boxAt(object, frame);
    figure.body.visible(box !== null);
    figure.handles.visible(box !== null && isSelected && !playing);
    if (!box) return;
    const [x1, y1, x2, y2] = this.#onScreen(box);
    const edges = { x: x1, y: y1, width: x2 - x1, height: y2 - y1 };
    figure.halo.setAttrs({ ...edges, strokeWidth: isSelected ? 5 : 3.5 });
    figure.rect.setAttrs({
      ...edges,
      stroke: object.color,
      strokeWidth: isSelected ? 2.5 : 1.5,
      fill: `${object.color}${isSelected ? "29" : "14"}`,
    });
    figure.text.setAttrs({ text: object.phrase, fill: readableOn(object.color) });
    figure.tag.fill(object.color);
    const above = figure.label.height();
    const last = this.#stage.width() - figure.label.width() - 2;
    figure.label.position({
      x: Math.max(Math.min(x1 - 1, last), 2),
      y: Math.max(y1 >= above + 2 ? y1 - above - 1 : y1 + 1, 2),
    });
    if (isSelected) this.#placeHandles(figure, [x1, y1, x2, y2], object);
  }

  #placeHandles(figure, box, object) {
    const isSmall = Math.min(box[2] - box[0], box[3] - box[1]) < 36;
    const isKey = this.#store.view.frame in object.boxes;
    figure.handles.getChildren().forEach((handle) => {
      const [x, y] = handlePoint(box, handle.name());
      handle.setAttrs({
        x,
        y,
        stroke: object.color,
        fill: isKey ? "#ffffff" : object.color,
        visible: !isSmall || handle.name().length === 2,
      });
    });
  }

  #newFigure(id) {
    const group = new Konva.Group();
    const body = new Konva.Group();
    const handles = new Konva.Group();
    const halo = new Konva.Rect({ stroke: "rgba(255, 255, 255, 0.75)" });
    const rect = new Konva.Rect();
    const label = new Konva.Label();
    const tag = new Konva.Tag({ cornerRadius: 3 });
    const text = new Konva.Text({
      fontSize: 12,
      fontStyle: "600",
      padding: 4,
      fontFamily: "system-ui, sans-serif",
      wrap: "none",
    });
    const trail = new Konva.Shape({ sceneFunc: (context, shape) => this.#drawTrail(context, shape.attrs) });
    for (const name of Object.keys(HANDLES)) {
      handles.add(
        new Konva.Rect({ name, width: 9, height: 9, offsetX: 4.5, offsetY: 4.5, cornerRadius: 2, strokeWidth: 1.5 }),
      );
    }
    label.add(tag, text);
    body.add(halo, rect, label);
    group.add(trail, body, handles);
    this.#boxLayer.add(group);
    const figure = { group, body, handles, halo, rect, label, tag, text, trail };
    this.#figures.set(id, figure);
    return figure;
  }

  // The way of the box's middle: a line, a dot for each frame, a diamond for each key frame.
  #drawTrail(context, { object, isSelected }) {
    const points = [];
    for (let frame = 0; frame < this.#store.numFrames; frame++) {
      const box = boxAt(object, frame);
      const [x1, y1, x2, y2] = box ? this.#onScreen(box) : [];
      points.push(box && [(x1 + x2) / 2, (y1 + y2) / 2]);
    }
    const line = () => {
      context.beginPath();
      points.forEach((point, index) => {
        if (point) context[points[index - 1] ? "lineTo" : "moveTo"](...point);
      });
      context.stroke();
    };
    context.setAttr("lineJoin", "round");
    for (const [style, width] of [
      ["rgba(255, 255, 255, 0.7)", 3.5],
      [object.color, 1.5],
    ]) {
      context.setAttr("strokeStyle", style);
      context.setAttr("lineWidth", width);
      line();
    }
    if (!isSelected) return;
    context.setAttr("fillStyle", object.color);
    context.setAttr("strokeStyle", "#ffffff");
    context.setAttr("lineWidth", 1.2);
    const keys = new Set(keyFrames(object));
    points.forEach((point, frame) => {
      if (!point) return;
      const [x, y] = point;
      context.beginPath();
      if (keys.has(frame))
        [
          [0, -5],
          [5, 0],
          [0, 5],
          [-5, 0],
        ].forEach(([dx, dy], i) => context[i ? "lineTo" : "moveTo"](x + dx, y + dy));
      else context.arc(x, y, 2.2, 0, 2 * Math.PI);
      context.closePath();
      context.fill();
      context.stroke();
    });
  }

  #onScreen([x1, y1, x2, y2]) {
    const { scale, x, y } = this.place;
    return [x + x1 * scale, y + y1 * scale, x + x2 * scale, y + y2 * scale];
  }
}

/** Black or white, whichever has the higher contrast on a color #rrggbb. */
export function readableOn(color) {
  const [r, g, b] = [1, 3, 5].map((at) => {
    const value = parseInt(color.slice(at, at + 2), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000000" : "#ffffff";
}
