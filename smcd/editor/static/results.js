// The history: what is queued, running and done, with its seed and settings; restore, download, remove.

import { $, iconButton, make, oncePerFrame, show } from "./dom.js";

const DOWNLOADS = [
  ["MP4", "video.mp4"],
  ["GIF", "video.gif"],
  ["Frames", "frames.zip"],
  ["Project", "project.zip"],
];

export class Results {
  #store;
  #server;

  constructor(store, server) {
    this.#store = store;
    this.#server = server;
    store.subscribe(oncePerFrame(() => this.#draw()));
  }

  /** Cancels a job, or removes its result. */
  end(job) {
    return this.#server.attempt(() => this.#server.request("DELETE", `/api/jobs/${job.id}`));
  }

  cancelButton(job) {
    return make(
      "button",
      {
        type: "button",
        class: "text-button",
        "data-focus": "cancel",
        "aria-label": `Cancel seed ${job.seed}`,
        onclick: () => this.end(job),
      },
      "Cancel",
    );
  }

  restore(job) {
    return this.#server.attempt(async () => {
      await this.#server.replace(`/api/jobs/${job.id}/restore`);
      this.#store.look({ results: [job.id] });
    });
  }

  #draw() {
    const { jobs, view } = this.#store;
    const videos = jobs.filter((job) => job.kind !== "track");
    show(
      $("#jobs"),
      videos,
      (job) => job.id,
      (job, old) => this.#item(job, old),
    );
    for (const item of $("#jobs").children) {
      const isShown = view.results.includes(item.dataset.key);
      item.classList.toggle("selected", isShown);
      $(".shown", item).setAttribute("aria-pressed", isShown);
      const compare = $(".compare", item);
      if (compare) compare.checked = isShown;
    }
    $("#jobs-hint").hidden = videos.length > 0;
  }

  #item(job, old) {
    if (goesOn(old, job)) {
      advance($(".progress", old), job);
      return old;
    }
    const item = make("li", { class: `job ${job.state}` }, this.#title(job));
    if (!isEnded(job)) item.append(make("div", { class: "status" }, progress(job), this.cancelButton(job)));
    if (job.state === "done") item.append(this.#compareBox(job));
    if (job.error) item.append(make("p", { class: "note error" }, job.error));
    if (job.state === "cancelled") item.append(make("p", { class: "note" }, "Cancelled"));
    if (isEnded(job)) item.append(this.#actions(job));
    return item;
  }

  #title(job) {
    const { prompt, num_frames: frames, num_inference_steps: steps, guidance_scale: guidance } = job.settings;
    const middle = `/api/jobs/${job.id}/frames/${Math.floor(frames / 2)}.png`;
    const isDone = job.state === "done";
    const picture = isDone ? make("img", { src: middle, alt: "", loading: "lazy" }) : make("span", { class: "state" });
    const numbers = [`${steps} steps`, `${frames} frames`, guidance === null ? "" : `guidance ${guidance}`];
    const words = [
      make("strong", {}, `Seed ${job.seed}`),
      make("span", {}, numbers.filter(Boolean).join(" · ")),
      make("span", {}, prompt),
    ];
    const attributes = {
      type: "button",
      class: "shown",
      title: prompt,
      "data-focus": "shown",
      "aria-label": `Show the result with seed ${job.seed}: ${prompt}`,
      onclick: () => this.#store.look({ results: [job.id] }),
    };
    return make("button", attributes, picture, make("span", { class: "words" }, ...words));
  }

  #actions(job) {
    const link = ([label, file]) => {
      const name = `Download ${label} of seed ${job.seed}`;
      const href = `/api/jobs/${job.id}/${file}`;
      return make("a", { href, download: `${job.id}-${file}`, "aria-label": name }, label);
    };
    const restore = `Bring boxes and settings of seed ${job.seed} back`;
    const remove = `Remove the result of seed ${job.seed}`;
    return make(
      "div",
      { class: "actions" },
      ...(job.state === "done" ? DOWNLOADS.map(link) : []),
      make("span", { class: "spring" }),
      iconButton("restore", restore, () => this.restore(job), { "data-focus": "restore" }),
      iconButton("trash", remove, () => this.end(job), { "data-focus": "remove" }),
    );
  }

  #compareBox(job) {
    const toggle = (event) => {
      const others = this.#store.view.results.filter((id) => id !== job.id);
      this.#store.look({ results: event.target.checked ? [...others, job.id] : others });
    };
    const box = make("input", {
      type: "checkbox",
      class: "compare",
      "data-focus": "compare",
      "aria-label": `Compare seed ${job.seed}`,
      onchange: toggle,
    });
    return make("label", { class: "check", title: "Show it beside the others that are ticked" }, "Compare", box);
  }
}

export function isEnded(job) {
  return ["done", "failed", "cancelled"].includes(job.state);
}

/** A bar and what it means: steps done and time left. */
export function progress(job) {
  const element = make(
    "div",
    { class: "progress" },
    make("progress", { "aria-label": `Seed ${job.seed}` }),
    make("span"),
  );
  return advance(element, job);
}

/** Shows the next step in what `progress` made, so that the button beside it can be pressed meanwhile. */
export function advance(element, job) {
  const left = typeof job.seconds_left === "number" ? ` · ${duration(job.seconds_left)} left` : "";
  const text = job.step ? `${job.step} of ${job.steps}${left}` : "Starting";
  Object.assign($("progress", element), { max: job.steps, value: job.step });
  $("span", element).textContent = job.state === "queued" ? "Waiting" : text;
  return element;
}

/** Whether only the steps of a job differ from what an element shows. */
export function goesOn(element, job) {
  return element?.shown?.state === job.state && !isEnded(job);
}

function duration(seconds) {
  if (seconds < 60) return `${Math.ceil(seconds)} s`;
  return seconds < 3600 ? `${Math.ceil(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}
