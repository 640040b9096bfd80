"""Labels and folders of datasets, read with errors that name the file and the line."""

import logging
import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from smcd.runtime.errors import InputError
from smcd.runtime.files import encodable, read_json, read_text

logger = logging.getLogger(__name__)


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
    except (TypeError, ValueError, OverflowError):
        values = []
    if len(values) != 4 or not all(map(math.isfinite, values)) or min(values[2:]) < 0:
        raise InputError(f"{where}: {str(box)[:60]} is not a box x, y, w, h")
    return values


def find_folder(path: Path, *places: str, holds: str = "") -> Path | None:
    """The first of the `places` below `path`, such as "got10k/val", that is a folder, and holds a file such as "*.tsv".

    Capitals, hyphens and underscores do not matter: got10k may be called GOT-10k.
    """
    for place in places:
        folder: Path | None = path
        for name in place.split("/"):
            folder = folder and _folder_called(folder, name)
        if folder and (not holds or any(folder.glob(holds))):
            return folder
    return None


def _folder_called(folder: Path, name: str) -> Path | None:
    if (folder / name).is_dir():
        return folder / name
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    return next((entry for entry in entries if _bare(entry.name) == _bare(name) and entry.is_dir()), None)


def _bare(name: str) -> str:
    return name.casefold().replace("-", "").replace("_", "")


def folder_of(path: Path, *places: str, holds: str = "") -> Path:
    """What `find_folder` finds. Raises an InputError if it finds nothing."""
    if found := find_folder(path, *places, holds=holds):
        return found
    lacking = f"has no folder {places[0]}" + (f" with {holds}" if holds else "")
    raise InputError(f"{path}: {lacking}; see docs/data.md for what lies where")


def read_captions(path: Path, names: Collection[str]) -> dict[str, Any]:
    """What a file of captions, {video: caption}, says; nothing without a file. Warns if it has none of `names`."""
    captions = read_json(path) if path.is_file() else {}
    if captions and names and captions.keys().isdisjoint(names):
        keys = f"its first key is {next(iter(captions))!r}, a video is called {next(iter(names))!r}"
        logger.warning(f"{path}: has a caption for none of the {len(names)} videos ({keys})")
    return captions


def check_text(value: Any, where: str) -> str:
    """A text from JSON; "" for a blank one and for null. Raises an InputError if it is something else."""
    if value is None:
        return ""
    if not isinstance(value, str) or not encodable(value):
        raise InputError(f"{where} is {repr(value)[:40]}, not a text")
    return value if value.strip() else ""


def xyxy(boxes: np.ndarray, width: float, height: float) -> np.ndarray:
    """Boxes xywh in pixels (... 4) as xyxy in 0..1, cut to the image, float32."""
    corners = np.concatenate([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], axis=-1)
    return np.clip(corners / np.array([width, height, width, height]), 0, 1).astype(np.float32)
