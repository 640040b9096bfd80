"""A picture of how training went, from the `metrics.jsonl` of one or more runs."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from smcd.runtime.errors import InputError
from smcd.runtime.files import new_file

_WIDTH, _HEIGHT, _MARGIN = 360, 240, 54  # of a run's panel, in pixels
_SMOOTHED = 25  # entries that are averaged
_INK, _GRAY, _LINE = "#222222", "#bbbbbb", "#3b6fb6"
_DOTS = {  # of validation
    "held out": ("validation/loss", "#d1495b"),
    "without boxes": ("validation/loss_without_boxes", "#edae49"),
    "without image": ("validation/loss_without_image", "#57a773"),
}

Points = tuple[np.ndarray, np.ndarray]  # steps, losses


def draw_curves(runs: Sequence[Path], out: Path) -> None:
    """Write a picture with one panel for each run: the training loss (smoothed), and the validation's losses as dots:
    with everything, without boxes, without image.

    Raises:
        InputError: a folder without readable metrics.jsonl, or a name that is no picture's.
    """
    if out.suffix.lower() not in (".png", ".jpg"):
        raise InputError(f"{out}: a picture is written as .png or .jpg")
    panels = [np.asarray(_panel(run.name, *read_losses(run))) for run in runs]
    with new_file(out) as path:
        PIL.Image.fromarray(np.concatenate(panels, axis=1)).save(path)


def read_losses(run: Path) -> tuple[Points, dict[str, Points]]:
    """Of training, and each of validation's: steps and losses. Raises an InputError where there are none."""
    path = run / "metrics.jsonl"
    try:
        entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        keys = ("loss", *(key for key, _ in _DOTS.values()))
        found = {key: {entry["step"]: entry[key] for entry in entries if key in entry} for key in keys}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); name the output_dir of a run") from None
    if not found["loss"]:
        raise InputError(f"{path}: holds no losses yet")
    return _points(found["loss"]), {name: _points(found[key]) for name, (key, _) in _DOTS.items() if found[key]}


def _points(losses: dict[int, float]) -> Points:
    steps = sorted(losses)  # steps after a resumed checkpoint come twice in the file: the later ones count
    return np.array(steps, float), np.array([losses[step] for step in steps], float)


def _panel(name: str, train: Points, validation: dict[str, Points]) -> PIL.Image.Image:
    steps, losses = train[0], smooth(train[1])
    shown = losses[len(losses) // 50 :]  # the first steps would flatten the rest
    high = (float(np.concatenate([shown, *(points[1] for points in validation.values())]).max()) or 1.0) * 1.1
    image = PIL.Image.new("RGB", (_WIDTH, _HEIGHT), "white")
    draw, font = PIL.ImageDraw.Draw(image), PIL.ImageFont.load_default(size=12)

    def place(step: float, loss: float) -> tuple[float, float]:
        x = _MARGIN + (_WIDTH - _MARGIN - 14) * step / steps[-1]
        y = _HEIGHT - 30 - (_HEIGHT - 78) * min(loss, high) / high
        return x, y

    for part in range(5):
        value = high * part / 4
        y = place(0, value)[1]
        draw.line((_MARGIN, y, _WIDTH - 14, y), fill=_GRAY if part else _INK)
        draw.text((4, y - 7), f"{value:.2g}", fill=_INK, font=font)
    draw.line((_MARGIN, 15, _MARGIN + 12, 15), fill=_LINE, width=2)
    draw.text((_MARGIN + 18, 8), f"{name}: loss", fill=_INK, font=font)
    x: float = _MARGIN
    for label in validation:
        draw.ellipse((x + 2, 28, x + 10, 36), fill=_DOTS[label][1])
        draw.text((x + 18, 25), label, fill=_INK, font=font)
        x += draw.textlength(label, font=font) + 30
    draw.text((_MARGIN, _HEIGHT - 24), "step 0", fill=_INK, font=font)
    draw.text((_WIDTH - 14, _HEIGHT - 24), f"{steps[-1]:.0f}", fill=_INK, font=font, anchor="ra")
    draw.line([place(step, loss) for step, loss in zip(steps, losses, strict=True)], fill=_LINE, width=2)
    for label, points in reversed(validation.items()):  # the loss with everything on top
        for step, loss in zip(*points, strict=True):
            x, y = place(step, loss)
            draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=_DOTS[label][1])
    return image


def smooth(losses: np.ndarray) -> np.ndarray:
    """The mean of each entry and its neighbors; at the ends there are fewer."""
    window = np.ones(min(_SMOOTHED, len(losses)))
    counts = np.convolve(np.ones_like(losses), window, mode="same")
    return np.convolve(losses, window, mode="same") / counts
