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
from smcd.runtime.errors import InputError, first_line

logger = logging.getLogger(__name__)
_PREVIEW_SHARE = 0.1  # of the time, at most, goes into previews


class Cancelled(Exception):  # noqa: N818  # it is asked for
    """The job is not wanted any more."""


def work(connection: Connection, options: EditConfig) -> None:
    """Answer what comes over the connection until it is closed.

    In: ("animate", id, CustomizeConfig) and ("cancel", id, None). Out: ("model", facts, None), and about a job
    ("step", id, facts), ("done", id, facts), ("failed", id, message), ("cancelled", id, None).
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which closes the connection
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    worker = Worker(connection, options)
    with contextlib.suppress(EOFError, BrokenPipeError):  # the server is gone
        worker.load()
        while True:
            kind, job, content = connection.recv()
            if kind == "animate":
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

    def run(self, job: str, config: CustomizeConfig) -> None:
        """Make one video and say how it went."""
        try:
            if self._sampler is None:
                raise InputError(self._error)
            self._connection.send(("done", job, self._animate(job, config)))
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

        check(config)
        start = time.monotonic()
        config = with_defaults(config)
        folder = Path(str(config.input_data_path))
        given = read_folder(folder, config.validation_data.video_length, str(config.prompt))
        progress = Progress(self._connection, job, Path(config.output_dir), config.validation_data.num_inference_steps)
        with on_device(), _notes() as notes:
            self._sampler.use(config.validation_data)
            make_videos(self._sampler, config, given, {config.seed: Path(config.output_dir)}, progress)
        return {"seconds": round(time.monotonic() - start, 1), "notes": notes}


class Progress:
    """A callback at the end of each step: reports it, shows the clean frames that are predicted, and heeds Cancel."""

    def __init__(self, connection: Connection, job: str, folder: Path, steps: int):
        self._connection, self._job, self._folder, self._steps = connection, job, folder, steps
        self._before: Any = None  # the latents at the step before
        self._first = 0.0  # when the first step ended: it is slower than the others
        self._next_preview = 0.0

    def __call__(self, pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        while self._connection.poll():
            kind, job, _ = self._connection.recv()
            if kind == "cancel" and job == self._job:
                raise Cancelled
        now = time.monotonic()
        self._first = self._first or now
        done = step + 1
        left = (now - self._first) / step * (self._steps - done) if step else None
        latents = tensors["latents"]
        preview = self._before is not None and done < self._steps and now >= self._next_preview
        if preview:
            from smcd.editor.previews import write_preview

            write_preview(pipe, self._folder / "preview.png", self._before, latents, step)
            spent = time.monotonic() - now
            self._next_preview = time.monotonic() + spent / _PREVIEW_SHARE
        self._before = latents
        facts = {"step": done, "steps": self._steps, "seconds_left": left, "preview": preview}
        self._connection.send(("step", self._job, facts))
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
