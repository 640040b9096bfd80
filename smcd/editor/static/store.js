// The one place that holds what the page shows: the project (undone, redone, saved) and the view of it (neither).

const COLORS = ["#3b82f6", "#f97316", "#10b981", "#ec4899", "#eab308", "#8b5cf6", "#06b6d4", "#ef4444"];

export class Store {
  /** The project is {image, objects, settings} and is replaced, never changed in place. */
  project = { image: null, objects: [], settings: {} };
  /** `results` are the ids of the jobs shown beside the boxes. */
  view = {
    frame: 0,
    selected: null,
    tool: "select",
    playing: false,
    loop: true,
    speed: 1,
    results: [],
    boxesOverResult: false,
    strip: false,
  };
  jobs = []; // newest first
  facts = { model: {}, examples: [], limits: {} }; // what the server can do
  #past = [];
  #future = [];
  #before = null; // the project at the start of an edit that is still going on
  #listeners = [];
  #lastId = 0;

  subscribe(listener) {
    this.#listeners.push(listener);
  }

  /** Changes what is looked at. */
  look(change) {
    this.view = { ...this.view, ...change };
    this.#tell();
  }

  /** One edit, one step of undo. */
  change(project) {
    this.commit(); // an edit that goes on is a step of its own
    this.update(project);
    this.commit();
  }

  /** A part of an edit that goes on (a drag, typing): `commit` ends it, `cancel` takes it back. */
  update(project) {
    this.#before ??= this.project;
    this.project = { ...this.project, ...project };
    this.#tell();
  }

  commit() {
    const before = this.#before;
    this.#before = null;
    if (before === null || before === this.project) return;
    this.#past.push(before);
    this.#future = [];
    this.#tell();
  }

  cancel() {
    if (this.#before === null) return;
    this.project = this.#before;
    this.#before = null;
    this.#tell();
  }

  setFacts(facts) {
    this.facts = { ...this.facts, ...facts };
    this.#tell();
  }

  setJobs(jobs) {
    this.jobs = jobs;
    this.#tell();
  }

  /** A job that is new, has changed, or was removed. */
  setJob(job) {
    if (job.state === "removed") return this.setJobs(this.jobs.filter((other) => other.id !== job.id));
    const isKnown = this.jobs.some((other) => other.id === job.id);
    return this.setJobs(isKnown ? this.jobs.map((other) => (other.id === job.id ? job : other)) : [job, ...this.jobs]);
  }

  /** Shows the server's project without a step of undo: when the page starts. */
  start(project) {
    this.project = this.withIds(project);
    this.look({ selected: this.project.objects[0]?.id ?? null });
  }

  undo() {
    this.commit();
    this.#step(this.#past, this.#future);
  }

  redo() {
    this.commit();
    this.#step(this.#future, this.#past);
  }

  get canUndo() {
    return this.#past.length > 0 || this.#before !== null;
  }

  get canRedo() {
    return this.#future.length > 0;
  }

  get numFrames() {
    return this.project.settings.num_frames ?? 1;
  }

  get size() {
    const { image } = this.project;
    return image ? [image.width, image.height] : [1, 1];
  }

  get selected() {
    return this.project.objects.find((object) => object.id === this.view.selected) ?? null;
  }

  /** Objects with one replaced, for `update` and `change`. */
  with(object) {
    return { objects: this.project.objects.map((other) => (other.id === object.id ? object : other)) };
  }

  newObject(fields) {
    const used = this.project.objects.map((object) => object.color);
    const color = COLORS.find((candidate) => !used.includes(candidate)) ?? COLORS[used.length % COLORS.length];
    return { id: ++this.#lastId, phrase: "", boxes: {}, easing: {}, hidden: false, color, ...fields };
  }

  /** The server's project as the page's: every object has an id, which it keeps where it is likely the same one. */
  withIds({ image, objects, settings }) {
    const shown = this.project.objects;
    const isSame = (index, phrase) => shown.length === objects.length || shown[index]?.phrase === phrase;
    const known = (index, phrase) => (isSame(index, phrase) ? shown[index]?.id : null);
    const named = objects.map((object, index) => ({
      ...object,
      easing: object.easing ?? {},
      hidden: object.hidden ?? false,
      id: known(index, object.phrase) ?? ++this.#lastId,
      color: /^#[0-9a-f]{6}$/i.test(object.color) ? object.color : COLORS[index % COLORS.length],
    }));
    return { image, objects: named, settings };
  }

  #step(from, to) {
    if (!from.length) return;
    to.push(this.project);
    this.project = from.pop();
    this.#tell();
  }

  #tell() {
    const frame = Math.min(Math.max(this.view.frame, 0), this.numFrames - 1);
    const selected = this.selected ? this.view.selected : null;
    if (frame !== this.view.frame || selected !== this.view.selected) this.view = { ...this.view, frame, selected };
    for (const listener of this.#listeners) listener();
  }
}
