#!/usr/bin/env python
"""What fewer denoising steps cost: how well a sprites model follows its boxes, against DDIM with 50 steps."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from evaluate_sprites import score
from sprites_scenes import Scene, SceneOptions, prepare, sample_scenes
from tqdm import tqdm

from smcd.config import configured
from smcd.evaluation.metrics.similarity import psnr
from smcd.runtime.errors import InputError
from smcd.runtime.files import new_file
from smcd.sampler import Sampler, on_device
from smcd.sprites.world import World

REFERENCE = ("ddim", 50)
SETTINGS = (REFERENCE, *((name, steps) for name in ("ddim", "dpmsolver++", "unipc") for steps in (25, 20, 15, 10)))


def main() -> None:
    with configured(SceneOptions, __doc__) as config:
        print(compare_samplers(config))


@dataclass
class Setting:
    """One sampler at one number of steps: its videos, and how long they took in all."""

    name: str
    steps: int
    sampler: Sampler
    videos: list[np.ndarray] = field(default_factory=list)
    seconds: float = 0.0


def compare_samplers(config: SceneOptions, settings: Sequence[tuple[str, int]] = SETTINGS) -> str:
    """The table, also as `samplers.md` in the config's `out`; the first of the settings is what the others are held to.

    The settings take turns, batch by batch, so that a machine's moods meet all of them; the noise is the same for all.
    The first batch is made once more beforehand, by the setting with the fewest steps, to warm up.

    Raises:
        InputError: weights or options that do not fit.
    """
    usual = SceneOptions()
    asked = (config.scheduler, config.validation_data.num_inference_steps)
    if asked != (usual.scheduler, usual.validation_data.num_inference_steps):
        raise InputError(
            "the samplers and their steps are the table's: leave out scheduler, num_inference_steps, preset"
        )
    config, world, scenes = prepare(config)
    with on_device() as state:
        runs = [make(config, name, steps, state.device) for name, steps in settings]
        quickest = min(runs, key=lambda run: run.steps)
        sample_scenes(config, quickest.sampler, scenes[: config.batch_size], None)
        for first in tqdm(range(0, len(scenes), config.batch_size), "samplers", unit="batch"):
            for run in runs:
                start = time.perf_counter()
                run.videos += sample_scenes(config, run.sampler, scenes[first : first + config.batch_size], None)
                run.seconds += time.perf_counter() - start
    text = table(runs, scenes, world)
    with new_file(Path(config.out, "samplers.md")) as path:
        path.write_text(text + "\n")
    return text


def make(config: SceneOptions, name: str, steps: int, device: torch.device) -> Setting:
    sampling = replace(config.validation_data, num_inference_steps=steps)
    sampler = Sampler(replace(config, scheduler=name, validation_data=sampling), device)
    return Setting(name, steps, sampler)


def table(runs: Sequence[Setting], scenes: list[Scene], world: World) -> str:
    reference = runs[0]
    near = f"PSNR to {reference.name} {reference.steps}"
    lines = [f"| sampler | steps | AO | SR50 | PSNR of frame 0 | {near} | time |", "|---|---|---|---|---|---|---|"]
    for run in runs:
        row = score(run.name, scenes, run.videos, world)
        like = [psnr(video, other) for video, other in zip(run.videos, reference.videos, strict=True)]
        shown = "" if run is reference else f"{np.mean(like):.1f}"
        share = run.seconds / reference.seconds
        lines.append(
            f"| {run.name} | {run.steps} | {row.ao:.3f} | {row.sr50:.3f} | {row.psnr:.1f} | {shown} | {share:.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
