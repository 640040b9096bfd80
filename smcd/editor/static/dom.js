// Small helpers around the document. Text only ever enters it as text.

export const $ = (selector, root = document) => root.querySelector(selector);

/** A new element: `make("button", {class: "icon", "aria-label": "Play", onclick: play}, "Play", icon("play"))`. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** An icon of icons.svg; its button carries the name for screen readers. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", "icon");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `/static/icons.svg#${name}`);
  svg.append(use);
  return svg;
}

export function iconButton(name, label, onclick, attributes = {}) {
  return make(
    "button",
    { type: "button", class: "icon-button", "aria-label": label, title: label, onclick, ...attributes },
    icon(name),
  );
}

/** Sets the children of an element only if the keys say that something changed: focus and scrolling stay. */
export function show(parent, items, key, build) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const wanted = items.map((item) => {
    const name = String(key(item));
    const old = known.get(name);
    if (old && old.shown === item) return old;
    const element = build(item, old);
    element.dataset.key = name;
    element.shown = item;
    if (old && old !== element) restoreFocus(old, element);
    return element;
  });
  if (wanted.length !== parent.children.length || wanted.some((child, index) => child !== parent.children[index])) {
    const focused = parent.contains(document.activeElement) ? document.activeElement : null;
    parent.replaceChildren(...wanted);
    if (focused?.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
  }
}

function restoreFocus(old, element) {
  const name = old.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
  if (name)
    queueMicrotask(() => element.querySelector(`[data-focus="${CSS.escape(name)}"]`)?.focus({ preventScroll: true }));
}

/** Calls a function at most once per displayed frame. */
export function oncePerFrame(draw) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      draw();
    });
  };
}

/** One clear line at the foot of the page; errors stay until they are closed. `action` is {label, run}. */
export function say(text, { error = false, action = null, key = text } = {}) {
  const list = $("#messages");
  unsay(key);
  const close = () => line.remove();
  const line = make(
    "li",
    { class: error ? "message error" : "message", role: error ? "alert" : "status", "data-key": key },
    make("span", {}, text),
    action &&
      make(
        "button",
        {
          type: "button",
          onclick: () => {
            close();
            action.run();
          },
        },
        action.label,
      ),
    iconButton("close", "Close this message", close),
  );
  list.append(line);
  while (list.children.length > 3) list.firstChild.remove();
  if (!error) setTimeout(close, action ? 20_000 : 6000);
}

/** Takes messages back that are true no longer. */
export function unsay(key) {
  for (const line of [...$("#messages").children]) if (line.dataset.key === key) line.remove();
}

/** For screen readers alone: what the eye sees anyway. */
export function announce(text) {
  $("#spoken").textContent = text;
}

export function isTyping(target) {
  return (
    target instanceof HTMLElement &&
    (target.matches("input:not([type=range], [type=checkbox]), textarea, select") || target.isContentEditable)
  );
}
