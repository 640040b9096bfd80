"""What a person watches: the progress bar, and the numbers that go to the trackers."""

import dataclasses
import json
import time
from typing import Any

import torch
import yaml
from tqdm import tqdm

from smcd.runtime.files import new_file
from smcd.training.resume import versions
from smcd.training.run import Run, whole
from smcd.training.settings import global_batch
from smcd.training.trackers import JsonlTracker, flat


class Monitor:
    """Shows and logs a run; also writes its resolved config and versions beside the output."""

    def __init__(self, run: Run):
        accelerator = run.accelerator
        self._clips = global_batch(run.config, accelerator.num_processes)
        self._losses: list[float] = []
        self._rate = _next_rate(run)
        self._since = time.monotonic()
        self._bar = tqdm(
            total=run.config.max_train_steps,
            initial=run.step,
            desc=f"stage {run.stage.name}",
            unit="step",
            dynamic_ncols=True,
            disable=not accelerator.is_main_process,
        )
        config = dataclasses.asdict(run.config)
        if accelerator.is_main_process:
            run.out.mkdir(parents=True, exist_ok=True)
            with new_file(run.out / "config.yaml") as path:
                path.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")
            with new_file(run.out / "versions.json") as path:
                path.write_text(json.dumps(versions() | {"processes": accelerator.num_processes}, indent=1))
        tracker = run.config.tracker
        wandb = {"entity": tracker.entity, "group": tracker.group, "dir": str(run.out)}
        accelerator.init_trackers(tracker.project, flat(config), {"wandb": wandb})
        for logger in accelerator.trackers:
            if isinstance(logger, JsonlTracker):
                logger.forget_after(run.step)

    def step(self, run: Run, loss: float, gradient_norm: float) -> None:
        """A step is done."""
        self._losses.append(loss)
        rate, self._rate = self._rate, _next_rate(run)
        seconds = (time.monotonic() - self._since) / len(self._losses)
        numbers = {"loss": f"{loss:.4f}", "lr": f"{rate:.2g}", "clips/s": f"{self._clips / seconds:.3g}"}
        if run.accelerator.device.type == "cuda":
            numbers["GiB"] = f"{torch.cuda.max_memory_allocated() / 2**30:.1f}"
        self._bar.set_postfix(numbers, refresh=False)
        self._bar.update()
        if run.step % run.config.logging_steps == 0 or run.step == run.config.max_train_steps:
            values = {
                "loss": sum(self._losses) / len(self._losses),
                "gradient_norm": gradient_norm,
                "learning_rate": rate,
                "steps_per_second": 1 / seconds,
                "clips_per_second": self._clips / seconds,
            }
            if run.accelerator.device.type == "cuda":
                values["memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
            run.accelerator.log(values | gates(run), step=run.step)
            self._losses, self._since = [], time.monotonic()

    def close(self) -> None:
        self._bar.close()


def _next_rate(run: Run) -> float:
    return run.schedule.get_last_lr()[0]


@torch.no_grad()
def gates(run: Run) -> dict[str, float]:
    """tanh(alpha) of every gate that trains, by its name: 0 is closed."""
    alphas: dict[str, Any] = {
        name.removeprefix("unet."): parameter for name, parameter in run.bare.trained().items() if ".alpha_" in name
    }
    if not alphas:
        return {}
    values = torch.stack([whole(alpha).reshape(()) for alpha in alphas.values()]).tanh().tolist()
    return {f"gate/{name}": value for name, value in zip(alphas, values, strict=True)}
