"""Labels and folders of datasets, read with errors that name the file and the line."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from smcd.runtime.errors import InputError
from smcd.runtime.files import read_text


def read_numbers(path: Path, columns: int) -> np.ndarray:
    """A line of `columns` numbers, separated by commas, for each frame: L columns, float64.

    Raises an InputError naming the line that holds something else.
    """
    rows = []
    for number, line in enumerate(read_text(path).rstrip().splitlines(), start=1):
        try:
            row = [float(value) for value in line.split(",")]
        except ValueError:
            row = []
        if len(row) != columns or not all(map(math.isfinite, row)):
            raise InputError(f"{path}:{number}: {line[:60]!r} is not {columns} finite number{'s' * (columns > 1)}")
        rows.append(row)
    return np.array(rows, dtype=np.float64).reshape(-1, columns)


def read_labels(path: Path, length: int) -> np.ndarray:
    """An integer for each of `length` frames. Raises an InputError naming the line."""
    values = read_numbers(path, 1)[:, 0].astype(int)
    if len(values) != length:
        raise InputError(f"{path}:{len(values)}: ends after {len(values)} lines, but there are {length} frames")
    return values


def check_box(box: Any, where: str) -> list[float]:
    """A box x, y, w, h from JSON as four numbers. Raises an InputError if it is not such a box."""
    try:
        values = [float(value) for value in box]
    except (TypeError, ValueError):
        values = []
    if len(values) != 4 or not all(map(math.isfinite, values)) or min(values[2:]) < 0:
        raise InputError(f"{where}: {box} is not a box x, y, w, h")
    return values


def folder_of(path: Path, *names: str) -> Path:
    """The first of `path/name` that is a folder. Raises an InputError if none is."""
    for name in names:
        if (path / name).is_dir():
            return path / name
    raise InputError(f"{path}: has no folder {' or '.join(names)}; see docs/data.md for what lies where")


def xyxy(boxes: np.ndarray, width: float, height: float) -> np.ndarray:
    """Boxes xywh in pixels (... 4) as xyxy in 0..1, cut to the image, float32."""
    corners = np.concatenate([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], axis=-1)
    return np.clip(corners / np.array([width, height, width, height]), 0, 1).astype(np.float32)
