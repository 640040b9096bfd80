"""Trackers: a JSON lines file, which is ours, and accelerate's tensorboard and wandb."""

import importlib.util
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import GeneralTracker, on_main_process

from smcd.config import flat
from smcd.runtime.errors import InputError
from smcd.runtime.files import new_file

_PACKAGES = ("tensorboard", "wandb")


class JsonlTracker(GeneralTracker):
    """One JSON object a line: {"step": 10, "loss": 0.98, ...}; the file of an earlier run is continued."""

    name = "jsonl"
    requires_logging_directory = False

    def __init__(self, path: Path):
        self.tracker = path
        super().__init__()

    @on_main_process
    def forget_after(self, step: int) -> None:
        """Drop lines of steps that are about to be done again."""
        if self.tracker.is_file():
            lines = self.tracker.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if _step_of(line) <= step]
            with new_file(self.tracker) as temporary:
                temporary.write_text("".join(kept), encoding="utf-8")

    @on_main_process
    def log(self, values: dict, step: int | None = None, **_: Any) -> None:
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}  # JSON has no NaN
        with self.tracker.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **finite}) + "\n")


def _step_of(line: str) -> float:
    """The step of a line; infinity for one that a killed run left unfinished."""
    try:
        return json.loads(line)["step"] if line.endswith("\n") else math.inf
    except ValueError:
        return math.inf


def make_trackers(names: Sequence[str], out: Path) -> list[Any]:
    """What accelerate's `log_with` takes. Raises an InputError for a tracker that is not installed."""
    for name in names:
        if name in _PACKAGES and importlib.util.find_spec(name) is None:
            raise InputError(f"report_to: {name} is not installed: pip install {name}")
    return [JsonlTracker(out / "metrics.jsonl") if name == "jsonl" else name for name in dict.fromkeys(names)]


def start_trackers(accelerator: Accelerator, options: dict[str, Any], out: Path, step: int) -> None:
    """Give the trackers the run's options; `step` steps are done, and entries of later ones are dropped."""
    tracker = options["tracker"]
    shown = {k: v if isinstance(v, str | int | float | bool) else str(v) for k, v in flat(options).items()}
    wandb = {"entity": tracker["entity"], "group": tracker["group"], "dir": str(out)}
    accelerator.init_trackers(tracker["project"], shown, {"wandb": wandb})
    for tracker in accelerator.trackers:
        if isinstance(tracker, JsonlTracker):
            tracker.forget_after(step)


def log_pictures(trackers: Sequence[Any], name: str, pictures: Any, step: int) -> None:
    """Give pictures (list of H W 3, uint8) to the trackers that show some."""
    for tracker in trackers if pictures else ():
        if tracker.name == "tensorboard":
            for number, picture in enumerate(pictures):
                tracker.log_images({f"{name}/{number}": picture[None]}, step=step, dataformats="NHWC")
        elif tracker.name == "wandb":
            tracker.log_images({name: pictures}, step=step)
