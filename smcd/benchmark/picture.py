"""The numbers as a picture: bars, or for a sweep two lines."""

from collections.abc import Sequence
from pathlib import Path

import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from smcd.benchmark.measure import Row

_WIDTH, _LINE, _MARGIN, _LABELS = 900, 44, 20, 260  # pixels
_MEASURED, _FLOOR, _INK = "#4363d8", "#f58231", "#222222"


def _canvas(height: int) -> tuple[PIL.Image.Image, PIL.ImageDraw.ImageDraw]:
    image = PIL.Image.new("RGB", (_WIDTH, height), "white")
    draw = PIL.ImageDraw.Draw(image)
    draw.font = PIL.ImageFont.load_default(size=15)
    return image, draw


def bars(rows: Sequence[Row], path: Path) -> None:
    """A bar for each row: its median seconds with the quartiles, and the floor that its FLOPs set.

    Rows without times show their peak memory; where there is neither, their first note.
    """
    values = {"seconds": [row.median if row.seconds else None for row in rows]}
    values["GiB"] = [row.peak / 2**30 if row.peak else None for row in rows]
    values["error"] = [next((v for v in row.notes.values() if isinstance(v, float)), None) for row in rows]
    unit = next(name for name, column in values.items() if any(column))
    shown = [(row, value) for row, value in zip(rows, values[unit], strict=True) if value is not None]
    image, draw = _canvas(_LINE * (len(shown) + 1) + 2 * _MARGIN)
    longest = max([value for _, value in shown] + [row.quartile(0.75) for row, _ in shown if row.seconds])
    scale = (_WIDTH - _LABELS - 130) / (longest or 1)
    for index, (row, value) in enumerate(shown):
        top = _MARGIN + index * _LINE
        draw.text((_MARGIN, top + 8), row.name, fill=_INK)
        draw.rectangle((_LABELS, top + 4, _LABELS + value * scale, top + 30), fill=_MEASURED)
        end = value
        if unit == "seconds":
            low, end = (row.quartile(share) * scale + _LABELS for share in (0.25, 0.75))
            draw.line((low, top + 17, end, top + 17), fill=_INK, width=2)
            end = (end - _LABELS) / scale
            if row.floor:
                draw.line([(_LABELS + row.floor * scale, top + y) for y in (0, 34)], fill=_FLOOR, width=4)
        draw.text((_LABELS + max(value, end) * scale + 8, top + 8), f"{value:.3g} {unit}", fill=_INK)
    if unit == "seconds" and any(row.floor for row, _ in shown):
        note = "orange: as many operations in one large matrix product"
        draw.text((_LABELS, _MARGIN + len(shown) * _LINE), note, fill=_FLOOR)
    image.save(path)


def lines(rows: Sequence[Row], path: Path) -> None:
    """Seconds and FLOPs of each row of a sweep, as multiples of the first row's."""
    image, draw = _canvas(420)
    seconds = [row.median / rows[0].median for row in rows]
    flops = [(row.flops or 0) / (rows[0].flops or 1) for row in rows]
    highest = max(*seconds, *flops)
    xs = [_MARGIN + 60 + index * (_WIDTH - 200) / max(1, len(rows) - 1) for index in range(len(rows))]

    def y(value: float) -> float:
        return 370 - 290 * value / highest

    draw.line((_MARGIN + 40, 370, _WIDTH - _MARGIN, 370), fill=_INK)
    draw.text((_MARGIN + 60, _MARGIN), "seconds", fill=_MEASURED)
    draw.text((_MARGIN + 60, _MARGIN + 20), "FLOPs", fill=_FLOOR)
    for values, color in ((flops, _FLOOR), (seconds, _MEASURED)):
        draw.line([(x, y(value)) for x, value in zip(xs, values, strict=True)], fill=color, width=3)
        for x, value in zip(xs, values, strict=True):
            draw.ellipse((x - 5, y(value) - 5, x + 5, y(value) + 5), fill=color)
    for x, row, time, work in zip(xs, rows, seconds, flops, strict=True):
        labels = sorted([(work, _FLOOR), (time, _MEASURED)], key=lambda label: label[0])
        for (value, color), step, anchor in zip(labels, (7, -7), ("lt", "rb"), strict=True):
            draw.text((x + step, y(value) + step), f"{value:.2f}x", fill=color, anchor=anchor)  # off a rising line
        draw.text((x, 380), row.name, fill=_INK, anchor="mt")
    image.save(path)
