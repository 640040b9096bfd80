"""The queue of jobs, one at a time in a process of its own, and the history of their results."""

import asyncio
import contextlib
import logging
import multiprocessing
import shutil
import signal
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from smcd.config import EditConfig, check
from smcd.data.key_frames import make_track, parse_objects
from smcd.editor.boxes import animated
from smcd.editor.project import OBJECTS, Project
from smcd.editor.settings import Settings
from smcd.editor.video import TrackTask
from smcd.editor.worker import PREVIEW, work
from smcd.runtime.errors import InputError
from smcd.runtime.files import read_json, write_json

logger = logging.getLogger(__name__)
_RECORD = "job.json"
_PATIENCE = 2.0  # seconds that the process gets to end
FORMATS = ["gif", "mp4", "png"]
_KILLED = (
    "the process that animates was ended ({reason}), most often because memory ran out: "
    "choose fewer frames or a smaller size, or start with --low_memory or --dtype float16"
)


@dataclass
class Job:
    """A video to be made, or objects to be tracked: queued, running, done, failed or cancelled."""

    id: str
    kind: str  # animate or track
    seed: int
    settings: dict[str, Any]
    created: str
    steps: int
    objects: list[dict[str, Any]] = field(default_factory=list)  # what is animated, and its image's width and height
    image: dict[str, Any] | None = None
    state: str = "queued"
    step: int = 0
    seconds: float | None = None
    seconds_left: float | None = None
    preview: str | None = None
    error: str | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        return self.state in ("done", "failed", "cancelled")


class Jobs:
    """All jobs of a project. Runs in the server's event loop, and tells `notify` of every change.

    Args:
        notify: is given the kind of an event (job, model or project) and what it holds.
    """

    def __init__(self, project: Project, options: EditConfig, notify: Callable[[str, dict[str, Any]], None]):
        self._project, self._options, self._notify = project, options, notify
        self.model: dict[str, Any] = {"ready": False, "error": None}
        self._queue: deque[tuple[Job, Any]] = deque()  # each with what the process is told
        self._running: Job | None = None
        self._process: Any = None
        self._connection: Any = None
        self.jobs = {job.id: job for job in map(_read, sorted(project.results.glob(f"*/{_RECORD}"))) if job}

    def listed(self) -> list[dict[str, Any]]:
        """All jobs in JSON, newest first."""
        return [asdict(job) for job in reversed(self.jobs.values())]

    def folder(self, job: Job) -> Path:
        return self._project.results / job.id

    def submit(self, seeds: Sequence[int]) -> list[Job]:
        """Queue a video for each seed, of the project as it is now."""
        return [self._add(self._new("animate", seed, self._project.settings.num_inference_steps)) for seed in seeds]

    def submit_track(self, task: TrackTask) -> Job:
        """Queue the tracking of objects through a video, which become objects of the project."""
        steps = task.span[1] - task.span[0] + 1
        return self._add(self._new("track", self._project.settings.seed, steps), task)

    def _new(self, kind: str, seed: int, steps: int) -> Job:
        now = datetime.now()
        name = f"{now:%Y%m%d-%H%M%S}-{seed}"
        id = next(each for n in range(1, 10**6) if (each := name if n == 1 else f"{name}-{n}") not in self.jobs)
        settings = asdict(self._project.settings) | {"seed": seed}
        return Job(id, kind, seed, settings, now.isoformat(timespec="seconds"), steps)

    def _add(self, job: Job, task: TrackTask | None = None) -> Job:
        settings, folder = Settings(**job.settings), self.folder(job)
        if job.kind == "animate":
            self._project.copy_to(folder, settings, format=FORMATS)
            job.objects, job.image = self._project.objects, self._project.state()["image"]
        self.jobs[job.id] = job
        self._queue.append((job, task or settings.config(self._options, folder, folder, format=FORMATS)))
        self._changed(job)
        self._next()
        return job

    def remove(self, job: Job) -> None:
        """Cancel a job that has not ended; delete the result of one that has."""
        if job.ended:
            shutil.rmtree(self.folder(job), ignore_errors=True)
            del self.jobs[job.id]
            self._notify("job", asdict(job) | {"state": "removed"})
            return
        if job is self._running:
            self._send("cancel", job.id)
        else:
            self._queue = deque(each for each in self._queue if each[0] is not job)
        self._end(job, "cancelled")

    def _end(self, job: Job, state: str, **facts: Any) -> None:
        job.state, job.seconds_left = state, None
        for name, value in facts.items():
            setattr(job, name, value)
        self._changed(job)

    def _changed(self, job: Job, write: bool = True) -> None:
        if write and job.kind == "animate":
            try:
                write_json(self.folder(job) / _RECORD, asdict(job))
            except InputError as error:
                logger.error(str(error))
        self._notify("job", asdict(job))

    def start(self) -> None:
        """Start the process, which loads the model."""
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs, self._options), daemon=True)
        self._process.start()
        theirs.close()
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._listen, args=(loop, self._connection, self._process), daemon=True).start()

    def stop(self) -> None:
        """End the process; a job under way is lost, and its inputs stay."""
        if self._process is not None:
            process, self._process = self._process, None
            self._send("stop")
            process.join(_PATIENCE)
            process.kill()

    def _send(self, kind: str, job: str | None = None, content: Any = None) -> None:
        with contextlib.suppress(OSError):  # the process has just died, which `_died` is told of
            self._connection.send((kind, job, content))

    def _listen(self, loop: asyncio.AbstractEventLoop, connection: Any, process: Any) -> None:
        """In a thread: hand on what the process says."""
        try:
            while True:
                loop.call_soon_threadsafe(self._receive, *connection.recv())
        except (EOFError, OSError):
            process.join()
            if self._process is process:
                loop.call_soon_threadsafe(self._died, process.exitcode)
        except RuntimeError:  # the loop is closed
            return

    def _receive(self, kind: str, about: Any, facts: Any) -> None:
        if kind == "model":
            self.model = {"ready": "error" not in about, "error": None} | about
            self._notify("model", self.model)
            return
        job = self.jobs.get(about)
        if kind != "step":
            self._running = None
        if job is not None and not job.ended:
            if kind == "step":
                job.step, job.seconds_left = facts["step"], facts["seconds_left"]
                if facts["preview"]:
                    job.preview = f"/api/jobs/{job.id}/{PREVIEW}?step={job.step}"
                self._changed(job, write=False)
            elif kind == "done" and job.kind == "track":
                self._tracked(job, facts)
            elif kind == "done":
                self._end(job, kind, seconds=facts["seconds"], notes=facts["notes"])
            else:
                self._end(job, kind, error=facts)
        self._next()

    def _tracked(self, job: Job, facts: dict[str, Any]) -> None:
        """Put the objects that were followed into the project."""
        try:
            self._project.add(facts["objects"], facts["image"])
        except InputError as error:
            self._end(job, "failed", error=str(error))
            return
        self._notify("project", {"revision": self._project.revision})
        self._end(job, "done", seconds=facts["seconds"], notes=facts["notes"])

    def _died(self, code: int) -> None:
        reason = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        message = _KILLED.format(reason=reason)
        logger.error(message)
        was_ready, self.model = self.model["ready"], {"ready": False, "error": None}
        self._process, running, self._running = None, self._running, None
        if running is not None and not running.ended:
            self._end(running, "failed", error=message)
        if was_ready or self._queue:
            self.start()
        else:
            self.model["error"] = message
        self._notify("model", self.model)
        self._next()

    def _next(self) -> None:
        if self._running is not None or not self._queue:
            return
        if self._process is None:
            self.start()
        job, task = self._queue.popleft()
        job.state, self._running = "running", job
        self._send(job.kind, job.id, task)
        self._changed(job)


def check_ready(project: Project, seeds: Sequence[int]) -> None:
    """Raise an InputError that says what lacks before the project can be animated, as `smcd animate` would."""
    settings = project.settings
    for seed in seeds:
        check(settings.config(project.model, project.folder, project.folder, seed=seed))
    if project.image is None:
        raise InputError("there is no image yet: open one, or an example")
    if not project.objects:
        raise InputError("there are no objects yet: draw a box on the image")
    size = project.image.size
    for phrase, keys, easing in parse_objects(animated(project.objects), settings.num_frames, size, OBJECTS):
        make_track(keys, settings.num_frames, size, phrase, easing)


def _read(path: Path) -> Job | None:
    """A job of an earlier server; one that had not ended then is a failed one now."""
    try:
        job = Job(**read_json(path))
        Settings.parse(job.settings)
        if job.id != path.parent.name:  # a result may come from elsewhere, and its id is a path here
            raise InputError(f"is the record of {job.id}")
    except (InputError, TypeError) as error:
        logger.warning(f"{path}: is left out ({error})")
        return None
    if not job.ended:
        job.state, job.error = "failed", "the editor was stopped before this was made: animate again"
    return job
