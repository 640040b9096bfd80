"""What a person watches: the progress bar, and the numbers that go to the trackers."""

import time
from typing import Any

import torch
from tqdm import tqdm

from smcd.training.distributed import whole
from smcd.training.run import Run


class Monitor:
    """Shows and logs a run of `steps` steps, `every` so many of them."""

    def __init__(self, run: Run, steps: int, every: int):
        self._steps, self._every = steps, every
        self._losses: list[float] = []
        self._rate = run.schedule.get_last_lr()[0]  # of the step to come
        self._since = time.monotonic()
        self._bar = tqdm(
            total=steps,
            initial=run.step,
            desc=f"stage {run.model.stage.name}",
            unit="step",
            dynamic_ncols=True,
            disable=not run.accelerator.is_main_process,
        )

    def step(self, run: Run, loss: float, gradient_norm: float) -> None:
        """A step is done: log its numbers."""
        self._losses.append(loss)
        rate, self._rate = self._rate, run.schedule.get_last_lr()[0]
        seconds = (time.monotonic() - self._since) / len(self._losses)
        clips_per_second = run.clips / seconds
        shown = {"loss": f"{loss:.4f}", "lr": f"{rate:.2g}", "clips/s": f"{clips_per_second:.3g}"}
        memory = {}
        if run.accelerator.device.type == "cuda":
            memory["memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
            shown["GiB"] = f"{memory['memory_gib']:.1f}"
        self._bar.set_postfix(shown, refresh=False)
        if run.step % self._every == 0 or run.step == self._steps:
            values = {
                "loss": sum(self._losses) / len(self._losses),
                "gradient_norm": gradient_norm,
                "learning_rate": rate,
                "steps_per_second": 1 / seconds,
                "clips_per_second": clips_per_second,
            }
            run.accelerator.log(values | memory | gates(run), step=run.step)
            self._losses, self._since = [], time.monotonic()

    def show(self) -> None:
        """Move the bar: after the checkpoint, which no trouble with the terminal may prevent."""
        self._bar.update()

    def close(self) -> None:
        self._bar.close()


@torch.no_grad()
def gates(run: Run) -> dict[str, float]:
    """tanh(alpha) of every gate that trains, by its name: 0 is closed."""
    alphas: dict[str, Any] = {name: parameter for name, parameter in run.trained().items() if ".alpha_" in name}
    if not alphas:
        return {}
    values = torch.stack([whole(alpha).reshape(()) for alpha in alphas.values()]).tanh().tolist()
    return {f"gate/{name.removeprefix('unet.')}": value for name, value in zip(alphas, values, strict=True)}
