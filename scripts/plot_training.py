#!/usr/bin/env python
"""A picture of the losses of training runs, side by side."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np

from smcd.runtime.command import command
from smcd.runtime.errors import InputError
from smcd.runtime.files import new_file

WIDTH, HEIGHT = 360, 240  # of a run's panel, in pixels
SMOOTHED = 25  # entries that are averaged
DOTS = {  # of validation
    "held out": ("validation/loss", "#d1495b"),
    "without boxes": ("validation/loss_without_boxes", "#edae49"),
    "without image": ("validation/loss_without_image", "#57a773"),
}

Points = tuple[np.ndarray, np.ndarray]  # steps, losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="output_dir of ms_main.py")
    parser.add_argument("--out", type=Path, default=Path("outputs/curves.png"), help="(default: %(default)s)")
    arguments = parser.parse_args()
    with command():
        draw_curves(arguments.runs, arguments.out)
        print(f"wrote {arguments.out}")


def draw_curves(runs: Sequence[Path], out: Path) -> None:
    """Write a picture with one panel for each run: the training loss (smoothed), and the validation's losses as dots:
    with everything, without boxes, without image.

    Raises:
        InputError: a folder without readable metrics.jsonl, or a name that is no picture's.
    """
    if out.suffix.lower() not in (".png", ".jpg"):
        raise InputError(f"{out}: a picture is written as .png or .jpg")
    losses = [read_losses(run) for run in runs]
    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(
        1, len(runs), figsize=(len(runs) * WIDTH / 100, HEIGHT / 100), dpi=100, squeeze=False, layout="constrained"
    )
    for run, panel, (train, validation) in zip(runs, panels[0], losses, strict=True):
        _draw(panel, run.name, train, validation)
    with new_file(out) as path:
        figure.savefig(path)
    plt.close(figure)


def _draw(panel: "mpl.axes.Axes", name: str, train: Points, validation: dict[str, Points]) -> None:
    steps, losses = train[0], smooth(train[1])
    shown = losses[len(losses) // 50 :]  # the first steps would flatten the rest
    high = np.concatenate([shown, *(points[1] for points in validation.values())]).max()
    panel.plot(steps, losses, color="#3b6fb6", label=f"{name}: loss")
    for label, points in validation.items():
        panel.scatter(*points, color=DOTS[label][1], label=label, s=16, zorder=3)
    panel.set(ylim=(0, 1.1 * (float(high) or 1.0)), xlabel="step")
    panel.grid(axis="y", color="#dddddd")
    panel.tick_params(labelsize=7)
    panel.legend(fontsize=7, loc="upper right")


def read_losses(run: Path) -> tuple[Points, dict[str, Points]]:
    """Steps and losses of training, and of each of validation's losses. Raises an InputError if there are none."""
    path = run / "metrics.jsonl"
    try:
        entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        keys = ("loss", *(key for key, _ in DOTS.values()))
        found = {key: {entry["step"]: entry[key] for entry in entries if key in entry} for key in keys}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); name the output_dir of a run") from None
    if not found["loss"]:
        raise InputError(f"{path}: holds no losses yet")
    return _points(found["loss"]), {name: _points(found[key]) for name, (key, _) in DOTS.items() if found[key]}


def _points(losses: dict[int, float]) -> Points:
    steps = sorted(losses)  # steps after a resumed checkpoint come twice in the file: the later ones count
    return np.array(steps, float), np.array([losses[step] for step in steps], float)


def smooth(losses: np.ndarray) -> np.ndarray:
    """The mean of each entry and its neighbors; at the ends there are fewer."""
    window = np.ones(min(SMOOTHED, len(losses)))
    counts = np.convolve(np.ones_like(losses), window, mode="same")
    return np.convolve(losses, window, mode="same") / counts


if __name__ == "__main__":
    main()
