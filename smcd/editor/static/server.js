// Everything that goes to the server and comes from it. The project is saved as it changes; nothing waits for a button.

import { $, say, unsay } from "./dom.js";

const PAUSE = 300; // milliseconds without a change before it is saved

export class Server {
  #store;
  #revision = 0;
  #newest = 0; // of the revisions that the server told of
  #saved = null; // the project as the server has it
  #seen = null; // the project at the last change of anything
  #saving = null; // the promise of the request that is under way
  #timer = null;

  constructor(store) {
    this.#store = store;
  }

  async start() {
    const project = await this.request("GET", "/api/project");
    const { model, examples, limits } = project;
    this.#store.setFacts({ model, examples, limits });
    this.#store.start(await this.#withImage(project));
    this.#accept(project);
    this.#store.setJobs((await this.request("GET", "/api/jobs")).jobs);
    this.#store.subscribe(() => this.#changed());
    this.#listen();
    addEventListener("beforeunload", () => this.#leave());
  }

  /** The JSON of an answer. Throws an Error with one line for the user; `error.answer` is what came with it. */
  async request(method, path, body, headers = {}) {
    const isJson = body !== undefined && !(body instanceof Blob);
    let response;
    try {
      response = await fetch(path, {
        method,
        body: isJson ? JSON.stringify(body) : body,
        headers: isJson ? { "Content-Type": "application/json", ...headers } : headers,
      });
    } catch {
      throw Object.assign(
        new Error("The editor's server does not answer. Start `smcd edit` again; this page keeps your work."),
        { offline: true },
      );
    }
    const answer = response.headers.get("Content-Type")?.includes("json") ? await response.json() : {};
    if (response.ok) return answer;
    throw Object.assign(new Error(answer.error ?? `The server answered ${response.status} ${response.statusText}`), {
      answer,
      status: response.status,
    });
  }

  /** Runs what a button does; an error becomes one line in the page. Returns undefined then. */
  async attempt(action) {
    try {
      return await action();
    } catch (error) {
      say(error.message, { error: true });
      return undefined;
    }
  }

  /** A request that answers with another project, which becomes one step of undo. */
  async replace(path, body) {
    await this.flush();
    this.#saving = this.request("POST", path, body).then((project) => this.#adopt(project));
    await this.#saving.finally(() => {
      this.#saving = null;
    });
  }

  async #adopt(project) {
    const own = this.#store.withIds(await this.#withImage(project));
    this.#store.change(own);
    this.#accept(project);
  }

  // The project with its image's bytes, which are shown from here on and brought back when a later image is undone.
  async #withImage({ image, ...project }) {
    const { image: shown } = this.#store.project;
    if (!image || image.url === shown?.origin) return { ...project, image: image && shown };
    const response = await fetch(image.url);
    const bytes = await response.blob();
    return {
      ...project,
      image: { width: image.width, height: image.height, origin: image.url, bytes, url: URL.createObjectURL(bytes) },
    };
  }

  /** Resolves once the server has what the page shows. Throws where it does not take it. */
  async flush() {
    clearTimeout(this.#timer);
    this.#store.commit();
    while (this.#saving || this.#store.project !== this.#saved) {
      this.#saving ??= this.#save().finally(() => {
        this.#saving = null;
      });
      await this.#saving;
    }
  }

  #accept(project) {
    this.#revision = project.revision;
    this.#newest = Math.max(this.#newest, project.revision);
    this.#saved = this.#store.project;
    this.#status("Saved");
  }

  #changed() {
    const { project } = this.#store;
    if (project === this.#seen) return; // it is only looked at
    this.#seen = project;
    if (project !== this.#saved) this.#saveSoon();
  }

  #saveSoon() {
    this.#status("Saving …");
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#background(), PAUSE);
  }

  #background() {
    if (this.#saving) return this.#saveSoon();
    this.#saving = this.#save()
      .catch((error) => {
        this.#status("Not saved");
        say(error.message, { error: true, key: "save" });
        if (error.offline) this.#timer = setTimeout(() => this.#background(), 2000);
      })
      .finally(() => {
        this.#saving = null;
      });
    return this.#saving;
  }

  async #save() {
    const project = this.#store.project;
    if (project === this.#saved) return;
    if (project.image && project.image !== this.#saved?.image) {
      const answer = await this.request("POST", "/api/image", project.image.bytes);
      project.image.origin = answer.image.url;
      this.#revision = answer.revision;
    }
    try {
      const answer = await this.request("PUT", "/api/project", this.#body(project));
      this.#revision = answer.revision;
      this.#saved = project;
      if (project === this.#store.project) this.#status("Saved");
      unsay("save");
    } catch (error) {
      if (error.status !== 409) throw error;
      await this.#adopt(error.answer);
      say("Another tab changed this project: this is its version. Undo brings yours back.", {
        action: { label: "Undo", run: () => this.#store.undo() },
      });
    }
    if (this.#newest > this.#revision) await this.#reload();
  }

  #body({ objects, settings }) {
    return { revision: this.#revision, objects: objects.map(({ id, ...object }) => object), settings };
  }

  async #reload() {
    const project = await this.request("GET", "/api/project");
    if (project.revision > this.#revision) await this.#adopt(project);
  }

  #listen() {
    const events = new EventSource("/api/events");
    events.addEventListener("job", (event) => this.#store.setJob(JSON.parse(event.data)));
    events.addEventListener("model", (event) => {
      const news = JSON.parse(event.data);
      this.#store.setFacts({ model: { ...this.#store.facts.model, ...news } });
      if (news.error) say(news.error, { error: true, key: "model" });
    });
    events.addEventListener("project", (event) => {
      this.#newest = Math.max(this.#newest, JSON.parse(event.data).revision);
      const isOurs = this.#saving || this.#store.project !== this.#saved;
      if (!isOurs && this.#newest > this.#revision) this.attempt(() => this.#reload());
    });
    let wasLost = false;
    events.addEventListener("error", () => {
      wasLost = true;
      this.#status("Waiting for the server");
    });
    events.addEventListener("open", () => {
      if (wasLost) this.attempt(() => this.#catchUp());
      wasLost = false;
    });
  }

  // After the server was away: what happened there meanwhile, and what happened here.
  async #catchUp() {
    this.#store.setJobs((await this.request("GET", "/api/jobs")).jobs);
    await this.flush();
    await this.#reload();
    this.#status("Saved");
  }

  // The last edits of a page that is closed within the pause.
  #leave() {
    this.#store.commit();
    if (this.#store.project === this.#saved || this.#store.project.image !== this.#saved?.image) return;
    const body = JSON.stringify(this.#body(this.#store.project));
    fetch("/api/project", { method: "PUT", keepalive: true, headers: { "Content-Type": "application/json" }, body });
  }

  #status(text) {
    $("#saved").textContent = text;
  }
}
