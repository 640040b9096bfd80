"""Text files of datasets: number lines, JSON, with errors that name the line."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from smcd.runtime.errors import InputError


def read_text(path: Path) -> str:
    """A text file. Raises an InputError where it is missing or is not text."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: is missing; see docs/data.md for how the dataset must lie on disk") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or 'not text'})") from None


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


def read_json(path: Path, kind: type = dict) -> Any:
    """A JSON file that holds an object (or a list). Raises an InputError that names the line."""
    try:
        content = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: is not JSON ({error.msg}); was it cut off?") from None
    except RecursionError:
        raise InputError(f"{path}: is nested too deeply") from None
    if not isinstance(content, kind):
        raise InputError(f"{path}: should be a JSON {'object' if kind is dict else 'list'}")
    return content


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
