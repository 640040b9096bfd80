"""The process that animates: it loads the model once and makes one video after the other."""

import contextlib
import gc
import logging
import signal
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from smcd.config import CustomizeConfig, EditConfig, SamplingConfig, check
from smcd.editor.video import TrackTask
from smcd.runtime.errors import InputError, first_line

logger = logging.getLogger(__name__)
PREVIEW = "preview.png"
_PREVIEW_SHARE = 0.1  # of the time, at most, goes into previews


class Cancelled(Exception):  # noqa: N818  # it is asked for
    """The job is not wanted any more."""


def work(connection: Connection, options: EditConfig) -> None:
    """Answer what comes over the connection until it is closed.

    In: ("animate", id, CustomizeConfig), ("track", id, TrackTask), ("cancel", id, None) or ("stop", None, None).
    Out: ("model", facts, None), and about a job ("step", id, facts), ("done", id, facts), ("failed", id, message) or
    ("cancelled", id, None).
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which closes the connection
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    worker = Worker(connection, options)
    with contextlib.suppress(EOFError, BrokenPipeError):  # the server is gone
        worker.load()
        while True:
            kind, job, content = connection.recv()
            if kind == "stop":
                return
            if kind != "cancel":
                worker.run(job, content)


class Worker:
    """The model, and how it reports to the server."""

    def __init__(self, connection: Connection, options: EditConfig):
        self._connection, self._options = connection, options
        self._sampler: Any = None
        self._error = ""

    def load(self) -> None:
        """Load the model, and say what it is or why it cannot be loaded."""
        facts: dict[str, Any]
        try:
            from smcd.sampler import Sampler, on_device

            with on_device() as state:
                self._sampler = Sampler(replace(self._options, validation_data=SamplingConfig()), state.device)
            sampling = self._sampler.config.validation_data
            facts = {
                "size_multiple": self._sampler.pipe.size_multiple,
                "width": sampling.width,
                "height": sampling.height,
                "guidance_scale": sampling.guidance_scale,
                "device": str(self._sampler.device),
            }
        except Exception as error:
            self._error = f"the model cannot be loaded: {first_line(error)}"
            logger.error(self._error)
            facts = {"error": self._error}
        self._connection.send(("model", facts, None))

    def run(self, job: str, task: CustomizeConfig | TrackTask) -> None:
        """Do one job and say how it went."""
        start = time.monotonic()
        try:
            with _notes() as notes:
                found = self._track(job, task) if isinstance(task, TrackTask) else self._animate(job, task)
            facts = {"seconds": round(time.monotonic() - start, 1), "notes": notes}
            self._connection.send(("done", job, facts | found))
        except Cancelled:
            self._connection.send(("cancelled", job, None))
        except (EOFError, BrokenPipeError):
            raise
        except Exception as error:
            if not isinstance(error, InputError | OSError):
                logger.exception("this job failed")
            self._connection.send(("failed", job, first_line(error)))
        finally:
            gc.collect()  # what a job that ran out of memory held

    def _animate(self, job: str, config: CustomizeConfig) -> dict[str, Any]:
        from smcd.customize.animate import make_videos
        from smcd.customize.input_folder import read_folder
        from smcd.sampler import on_device, with_defaults

        if self._sampler is None:
            raise InputError(self._error)
        check(config)
        config = with_defaults(config)
        folder = Path(str(config.input_data_path))
        given = read_folder(folder, config.validation_data.video_length, str(config.prompt))
        out, steps = Path(config.output_dir), config.validation_data.num_inference_steps
        previews = Previews(Progress(self._connection, job, steps), out, steps)
        with on_device():
            self._sampler.use(config.validation_data)
            make_videos(self._sampler, config, given, {config.seed: out}, previews)
        return {}

    def _track(self, job: str, task: TrackTask) -> dict[str, Any]:
        from smcd.data.video_folder import open_video, read_images
        from smcd.editor.boxes import scaled
        from smcd.editor.other_tools import objects_of_paths
        from smcd.editor.project import Image
        from smcd.editor.track import find_all, follow, load_models

        lacking = [phrase for phrase, box in task.boxes.items() if box is None]
        tracker, detector = load_models(self._options.sam2, self._options.detector if lacking else None)
        files, _, size = open_video(task.frames)
        [frame] = read_images(files, [task.span[0]])
        found = find_all(detector, frame, lacking)
        if missing := [phrase for phrase in lacking if phrase not in found]:
            raise InputError(f"no {missing[0]} is found in the frame: use other words, or draw its box")
        boxes = {phrase: box or found[phrase] for phrase, box in task.boxes.items()}
        progress = Progress(self._connection, job, task.span[1] - task.span[0] + 1)
        objects = objects_of_paths(follow(files, task.span, boxes, tracker, progress), task.num_frames, task.tolerance)
        if not objects:
            raise InputError("nothing can be followed: is the box large enough, and inside the frame?")
        if task.size is not None:
            return {"objects": scaled(objects, size, task.size), "image": None}
        copy = task.inside / "tracked.png"
        frame.save(copy)
        return {"objects": objects, "image": Image(copy, size)}


class Progress:
    """Reports each step, the first of which is 0, and heeds Cancel."""

    def __init__(self, connection: Connection, job: str, steps: int):
        self._connection, self._job, self._steps = connection, job, steps
        self._first = 0.0  # when the first step ended: it is slower than the others

    def heed(self) -> None:
        """Raise `Cancelled` if the job is not wanted any more, and an EOFError if the server has ended."""
        while self._connection.poll():
            kind, job, _ = self._connection.recv()
            if kind == "stop":
                raise EOFError
            if kind == "cancel" and job == self._job:
                raise Cancelled

    def __call__(self, step: int, preview: bool = False) -> None:
        self.heed()
        now, done = time.monotonic(), step + 1
        self._first = self._first or now
        left = round((now - self._first) / step * (self._steps - done), 1) if step else None
        facts = {"step": done, "seconds_left": left, "preview": preview}
        self._connection.send(("step", self._job, facts))


class Previews:
    """A pipeline's callback at the end of each step, which also shows the clean frames that are predicted."""

    def __init__(self, progress: Progress, folder: Path, steps: int):
        self._progress, self._folder, self._steps = progress, folder, steps
        self._before: Any = None  # the latents at the step before
        self._next = 0.0  # when the next preview is due

    def __call__(self, pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        self._progress.heed()
        now, latents = time.monotonic(), tensors["latents"]
        due = self._before is not None and step + 1 < self._steps and now >= self._next
        if due:
            from smcd.editor.previews import write_preview

            write_preview(pipe, self._folder / PREVIEW, self._before, latents, step)
            end = time.monotonic()
            self._next = end + (end - now) / _PREVIEW_SHARE
        self._before = latents
        self._progress(step, preview=due)
        return {}


@contextlib.contextmanager
def _notes() -> Any:
    """The warnings of a job, and how well the objects follow their boxes, as lines."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    handler.addFilter(lambda record: record.levelno >= logging.WARNING or record.name == "smcd.sprites.feedback")
    logging.getLogger("smcd").addHandler(handler)
    try:
        yield lines
    finally:
        logging.getLogger("smcd").removeHandler(handler)
