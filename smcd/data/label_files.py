"""What lies in datasets: number lines, folders, boxes, with errors that name the line."""

from pathlib import Path

import numpy as np

from smcd.runtime.errors import InputError
from smcd.runtime.files import read_text


def read_numbers(path: Path, columns: int) -> np.ndarray:
    """A line of `columns` numbers, separated by commas, for each frame: L columns, float64.

    Raises:
        InputError: naming the line that is not so, or is not finite.
    """
    lines = read_text(path).rstrip().splitlines()
    try:
        numbers = np.array([line.split(",") for line in lines], dtype=np.float64)
        if numbers.shape == (len(lines), columns) and np.isfinite(numbers).all():
            return numbers
    except ValueError:
        pass
    for number, line in enumerate(lines, start=1):
        try:
            values = [float(value) for value in line.split(",")]
        except ValueError:
            values = []
        if len(values) != columns or not np.isfinite(values).all():
            raise InputError(f"{path}:{number}: {line[:60]!r} is not {columns} finite number{'s' * (columns > 1)}")
    return np.zeros((0, columns))  # an empty file


def folder_of(path: Path, *names: str) -> Path:
    """The first of `path/name` that is a folder. Raises an InputError where none is."""
    for name in names:
        if (path / name).is_dir():
            return path / name
    raise InputError(
        f"{path}: has no folder {' or '.join(names)}; see docs/data.md for how the dataset must lie on disk"
    )


def xyxy(boxes: np.ndarray, width: float, height: float) -> np.ndarray:
    """Boxes xywh in pixels (... 4) as xyxy in 0..1, cut to the image, float32."""
    corners = np.concatenate([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], axis=-1)
    return np.clip(corners / np.array([width, height, width, height]), 0, 1).astype(np.float32)
