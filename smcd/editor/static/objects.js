// The list of objects: name, color, hide, duplicate, delete, add; and the numbers of the selected box.

import { $, iconButton, make, oncePerFrame, show } from "./dom.js";
import { fitBox } from "./geometry.js";
import { boxAt, withBox } from "./key_frames.js";
import { freeName } from "./pointer.js";

export class ObjectsPanel {
  #store;
  #list = $("#objects");

  constructor(store) {
    this.#store = store;
    $("#add-object").addEventListener("click", () => this.add());
    for (const field of this.#fields()) {
      field.addEventListener("input", () => this.#type());
      field.addEventListener("change", () => {
        store.commit();
        this.#draw();
      });
    }
    store.subscribe(oncePerFrame(() => this.#draw()));
  }

  /** A new object in the middle of the image, at the playhead. */
  add() {
    const store = this.#store;
    if (!store.project.image) return;
    const [width, height] = store.size;
    const box = fitBox([width / 3, height / 3, (2 * width) / 3, (2 * height) / 3], store.size);
    const object = store.newObject({ phrase: freeName(store.project.objects), boxes: { [store.view.frame]: box } });
    store.change({ objects: [...store.project.objects, object] });
    store.look({ selected: object.id });
    this.rename(object);
  }

  duplicate(object = this.#store.selected) {
    if (!object) return;
    const store = this.#store;
    const copy = store.newObject({ phrase: object.phrase, boxes: object.boxes, easing: object.easing });
    const at = store.project.objects.indexOf(object) + 1;
    store.change({ objects: store.project.objects.toSpliced(at, 0, copy) });
    store.look({ selected: copy.id });
  }

  remove(object = this.#store.selected) {
    if (!object) return;
    const store = this.#store;
    const at = store.project.objects.indexOf(object);
    const objects = store.project.objects.toSpliced(at, 1);
    store.change({ objects });
    store.look({ selected: objects[Math.min(at, objects.length - 1)]?.id ?? null });
  }

  /** Puts the cursor into an object's name. */
  rename(object) {
    requestAnimationFrame(() =>
      requestAnimationFrame(() => {
        const field = this.#list.querySelector(`[data-key="${object.id}"] input[type=text]`);
        field?.focus();
        field?.select();
      }),
    );
  }

  #draw() {
    const { project, view, selected } = this.#store;
    show(
      this.#list,
      project.objects,
      (object) => object.id,
      (object, old) => this.#item(object, old),
    );
    for (const item of this.#list.children) {
      const isSelected = item.dataset.key === String(view.selected);
      item.classList.toggle("selected", isSelected);
      item.setAttribute("aria-current", isSelected);
    }
    $("#objects-hint").hidden = project.objects.length > 0;
    $("#add-object").disabled = !project.image;
    const box = selected && boxAt(selected, view.frame);
    $("#box-fields").disabled = !box;
    $("#box-title").textContent = box || !selected ? `Box in frame ${view.frame}` : `Absent in frame ${view.frame}`;
    const values = box ? [box[0], box[1], box[2] - box[0], box[3] - box[1]] : ["", "", "", ""];
    this.#fields().forEach((field, index) => {
      if (field !== document.activeElement) field.value = box ? Math.round(values[index] * 10) / 10 : "";
    });
  }

  #item(object, old) {
    if (old && onlyBoxesDiffer(old.shown, object)) return old; // during a drag, nothing of this row changes
    const store = this.#store;
    const current = () => store.project.objects.find(({ id }) => id === object.id);
    const change = (fields) => store.with({ ...current(), ...fields });
    const name = make("input", {
      type: "text",
      value: object.phrase,
      "aria-label": "Name",
      "data-focus": "name",
      maxlength: "200",
      spellcheck: "false",
      oninput: (event) => event.target.value.trim() && store.update(change({ phrase: event.target.value })),
      onchange: (event) => {
        event.target.value = current()?.phrase ?? ""; // it is gone where another project has come
        store.commit();
      },
      onfocus: () => store.look({ selected: object.id }),
      onkeydown: (event) => event.key === "Enter" && $("#canvas").focus(),
    });
    const color = make("input", {
      type: "color",
      value: object.color,
      "aria-label": `Color of ${object.phrase}`,
      title: "Color",
      "data-focus": "color",
      oninput: (event) => store.update(change({ color: event.target.value })),
      onchange: () => store.commit(),
    });
    const hide = iconButton(
      object.hidden ? "eye-off" : "eye",
      object.hidden ? `Show ${object.phrase}` : `Hide ${object.phrase} in the editor`,
      () => store.change(change({ hidden: !current().hidden })),
      { "data-focus": "hide" },
    );
    const copy = iconButton("duplicate", `Duplicate ${object.phrase}`, () => this.duplicate(current()), {
      "data-focus": "copy",
    });
    const remove = iconButton("trash", `Delete ${object.phrase}`, () => this.remove(current()), {
      "data-focus": "remove",
    });
    if (old?.contains(document.activeElement) && document.activeElement.matches("input")) {
      for (const [part, button] of Object.entries({ hide, copy, remove })) {
        old.querySelector(`[data-focus=${part}]`).replaceWith(button); // the field that is typed in stays
      }
      return old;
    }
    return make(
      "li",
      { class: object.hidden ? "hidden" : "", onpointerdown: () => store.look({ selected: object.id }) },
      color,
      name,
      hide,
      copy,
      remove,
    );
  }

  #fields() {
    return [...document.querySelectorAll("#box-fields input")];
  }

  #type() {
    const store = this.#store;
    const [x, y, width, height] = this.#fields().map((field) => field.valueAsNumber);
    if ([x, y, width, height].some(Number.isNaN) || width <= 0 || height <= 0) return;
    store.update(
      store.with(withBox(store.selected, store.view.frame, fitBox([x, y, x + width, y + height], store.size))),
    );
  }
}

function onlyBoxesDiffer(a, b) {
  return a && ["phrase", "color", "hidden"].every((name) => a[name] === b[name]);
}
