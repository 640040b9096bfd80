#!/usr/bin/env python
"""The paper's comparisons on sprites: zero conv and image gate, alone and together; one stage against two.

Each is trained with several seeds, and scored on held-out scenes. What is done is kept in its folder: the same
command goes on where it was stopped.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from evaluate_sprites import COLUMNS, Row, score
from sprites_scenes import SceneOptions, prepare, sample_scenes

from smcd.config import configured
from smcd.config.options import option
from smcd.runtime.errors import InputError
from smcd.runtime.files import new_file, read_json, write_json
from smcd.sampler import Sampler, on_device

BOTH = "zero conv and image gate"
# Options of `smcd train` beside those of stage 2. In one stage, the object gates train with the rest, from the base.
TRAININGS = {
    BOTH: ["--cat_init", "--cross_vision"],
    "zero conv alone": ["--cat_init"],
    "image gate alone": ["--cross_vision"],
    "both, in one stage": ["--cat_init", "--cross_vision", "--new_position_net"],
}


@dataclass
class Options(SceneOptions):
    base: str = option("outputs/sprites/base/pipeline", "text-to-video base that the training in one stage starts from")
    stage1: str = option("outputs/sprites/stage1/pipeline", "result of stage 1 that the others start from")
    config: str = option("configs/sprites_stage2.yaml", "settings of stage 2")
    out: str = option("outputs/sprites/ablations", "folder for the trainings, the scores and the table")
    seeds: list[int] = option([1, 2, 3], "a training for each", filled=True)
    steps: int = option(1200, "steps of each training", low=1)
    processes: int = option(2, "processes that train together", low=1)


def main() -> None:
    with configured(Options, __doc__) as options:
        print(compare(options))


def compare(options: Options) -> str:
    """Train and score what is missing; returns the table, also as `table.md` in `options.out`."""
    out = Path(options.out)
    scores: dict[str, list[Row]] = {}
    for seed in options.seeds:
        for name, arguments in TRAININGS.items():
            folder = out / f"{name.replace(',', '').replace(' ', '_')}-{seed}"
            if not (folder / "pipeline").is_dir():
                train(options, folder, seed, name, arguments)
            found = folder / "scores.json"
            if not found.is_file():
                write_json(found, [asdict(row) for row in score_model(options, folder / "pipeline", name)], indent=1)
            for row in read_json(found, object):
                scores.setdefault(row["name"], []).append(Row(**row))
    text = table(scores)
    with new_file(out / "table.md") as path:
        path.write_text(text + "\n")
    return text


def train(options: Options, folder: Path, seed: int, name: str, arguments: Sequence[str]) -> None:
    """Run `ms_main.py` as several processes of one thread; a training that was stopped goes on."""
    one_stage = "--new_position_net" in arguments
    start = ["--pretrained_model_path", options.base] if one_stage else ["--tune_from_ckpt_path", options.stage1]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={options.processes}"]
    command = [*launcher, "ms_main.py", "--config", options.config, *start, *arguments]
    command += ["--seed", str(seed), "--max_train_steps", str(options.steps), "--output_dir", str(folder)]
    print(f"training: {name}, seed {seed}", file=sys.stderr)
    if subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}).returncode:
        raise InputError(f"{folder}: the training stopped; run the same command again, it goes on")


def score_model(options: Options, weights: Path, name: str) -> list[Row]:
    """The model's row; for both paths also those without boxes and without the image."""
    config, world, scenes = prepare(replace(options, trained_ckpt_path=str(weights)))
    with on_device() as state:
        sampler = Sampler(config, state.device)
        rows = [score(name, scenes, sample_scenes(config, sampler, scenes, name), world)]
        if name == BOTH:
            free = sample_scenes(
                config, sampler, scenes, "boxes dropped", lambda s: s.without_boxes(config.num_max_obj)
            )
            blind = sample_scenes(config, sampler, scenes, "image dropped", with_image=False)
            rows += [
                score("both, boxes dropped", scenes, free, world),
                score("both, image dropped", scenes, blind, world),
            ]
    return rows


def table(scores: Mapping[str, Sequence[Row]]) -> str:
    """A line for each comparison: mean and standard deviation over the trainings."""
    lines = [f"| | trainings | {' | '.join(COLUMNS)} |", f"|---|---|{'---|' * len(COLUMNS)}"]
    for name, rows in scores.items():
        cells = []
        for value, digits in COLUMNS.values():
            numbers = [number for row in rows if (number := value(row)) is not None]
            spread = f" +- {np.std(numbers, ddof=1):.{digits}f}" if len(numbers) > 1 else ""
            cells.append(f"{np.mean(numbers):.{digits}f}{spread}" if numbers else "")
        lines.append(f"| {name} | {len(rows)} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
