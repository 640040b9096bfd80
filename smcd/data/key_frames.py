"""Boxes that users write by hand: a line for each frame, or key frames between which a box moves."""

import logging
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from smcd.config import did_you_mean
from smcd.runtime.errors import InputError
from smcd.runtime.files import read_text

logger = logging.getLogger(__name__)

_SMALLEST = 1e-5  # a box must keep this part of the image's side inside the image
_CORNERS = (["x1", "y1", "x2", "y2"], ["xmin", "ymin", "xmax", "ymax"], ["left", "top", "right", "bottom"])
_BEFORE, _AFTER = " \t[(", " \t)],;"  # what may stand around the numbers of a line
_KEYS = ("phrase", "boxes", "easing")  # of an entry of objects.json
PixelBox = tuple[float, float, float, float]
KeyFrames = dict[int, PixelBox | None]
EASINGS = {  # the part of the way from one key frame to the next that lies behind at the part t of the time
    "linear": lambda t: t,
    "in": lambda t: t * t,
    "out": lambda t: t * (2 - t),
    "in-out": lambda t: t * t * (3 - 2 * t),
}


class Keyed(NamedTuple):
    """An object with its key frames; `easing` names, by its first key frame, how a segment is passed through."""

    phrase: str
    keys: KeyFrames
    easing: dict[int, str]


def read_bbox_txt(path: Path, num_frames: int | None, size: tuple[int, int]) -> KeyFrames:
    """F lines of `x1,y1,x2,y2`, or key frames `k: x1,y1,x2,y2` in any order.

    Spaces, tabs or semicolons may stand for the commas, and brackets around a line; empty lines, what follows a #, and
    a first line that names these columns are skipped. With `num_frames` None, F is how many lines there are. Raises an
    InputError naming a line that does not fit.
    """
    lines = {n: line.partition("#")[0].strip() for n, line in enumerate(read_text(path).splitlines(), start=1)}
    lines = {n: line for n, line in lines.items() if line}
    if lines and _is_header(next(iter(lines.values())), path):
        del lines[min(lines)]
    if not lines:
        raise InputError(f"{path}: is empty; write a line x1,y1,x2,y2 for each frame")
    keyed = ":" in lines[min(lines)]
    keys: KeyFrames = {}
    for number, line in lines.items():
        where = f"{path}:{number}"
        if (":" in line) != keyed:
            raise InputError(f"{where}: {line!r}: either every line starts with its frame (k: x1,y1,x2,y2) or none")
        frame, _, values = line.rpartition(":")
        index = _frame_index(frame.strip(_BEFORE), num_frames, where) if keyed else len(keys)
        if index in keys:
            raise InputError(f"{where}: frame {index} was given before; delete one of the lines")
        keys[index] = _box(_numbers(values), size, where)
    if not keyed and num_frames not in (None, len(lines)):
        fix = f"set --video_length {len(lines)}, or write key frames (k: x1,y1,x2,y2)"
        raise InputError(f"{path}: {len(lines)} lines for {num_frames} frames; {fix}")
    return keys


def _numbers(text: str) -> list[str]:
    """What stands between commas, semicolons and spaces; nothing between two commas is an empty text."""
    return re.split(r"\s*[,;]\s*|\s+", text.lstrip(_BEFORE).rstrip(_AFTER))


def _is_header(line: str, path: Path) -> bool:
    """Whether a line names the columns of a box. Raises an InputError if it names others, such as x,y,w,h."""
    names = _numbers(line.lower())
    if not all(name.isidentifier() for name in names):
        return False
    if names not in _CORNERS:
        raise InputError(f"{path}: the columns are {','.join(names)[:60]}, but they should be x1,y1,x2,y2 in pixels")
    return True


def parse_objects(content: Any, num_frames: int, size: tuple[int, int], where: str) -> list[Keyed]:
    """`[{"phrase": ..., "boxes": {"0": [x1, y1, x2, y2], "6": null}, "easing": {"0": "in"}}]`, easing optional.

    `size` is width and height of the image. Raises an InputError naming the object and frame that do not fit.
    """
    if not isinstance(content, list) or not content:
        raise InputError(f'{where}: should be a list of objects: [{{"phrase": "red car", "boxes": {{"0": [...]}}}}]')
    numbered = enumerate(content, start=1)
    return [_read_object(item, num_frames, size, f"{where}: object {number}") for number, item in numbered]


def _read_object(item: Any, num_frames: int, size: tuple[int, int], where: str) -> Keyed:
    if isinstance(item, dict) and (unknown := item.keys() - {*_KEYS}):
        hint = did_you_mean(min(unknown).lower(), [key for key in _KEYS if key not in item])
        raise InputError(f'{where}: unknown key "{min(unknown)}"{hint or "; an object has phrase, boxes and easing"}')
    if not isinstance(item, dict) or not {"phrase", "boxes"} <= item.keys():
        raise InputError(f'{where}: needs "phrase" and "boxes"')
    phrase, boxes = item["phrase"], item["boxes"]
    if not isinstance(phrase, str) or not phrase.strip():
        raise InputError(f'{where}: "phrase" should be a name such as "red car", not {phrase!r}')
    where = f'{where} ("{phrase}")'
    if isinstance(boxes, list) and all(isinstance(box, list | None) for box in boxes):
        if num_frames not in (None, len(boxes)):
            fix = 'give a box or null for each, or name the frames: {"0": [x1, y1, x2, y2]}'
            raise InputError(f"{where}: {len(boxes)} boxes for {num_frames} frames; {fix}")
        boxes = {str(frame): box for frame, box in enumerate(boxes)}
    if not isinstance(boxes, dict) or not any(box is not None for box in boxes.values()):
        raise InputError(f'{where}: "boxes" should hold at least one frame with a box: {{"0": [x1, y1, x2, y2]}}')
    keys: KeyFrames = {}
    for key, box in boxes.items():
        index = _frame_index(key, num_frames, where)
        if index in keys:
            raise InputError(f"{where}: frame {index} is given twice")
        if box is not None and (not isinstance(box, list) or any(isinstance(value, str) for value in box)):
            raise InputError(f"{where}, frame {key}: a box is [x1, y1, x2, y2] or null, not {str(box)[:40]}")
        keys[index] = None if box is None else _box(box, size, f"{where}, frame {key}")
    return Keyed(phrase, keys, _easing(item.get("easing", {}), keys, where))


def _easing(content: Any, keys: KeyFrames, where: str) -> dict[int, str]:
    if not isinstance(content, dict):
        raise InputError(f'{where}: "easing" should hold key frames: {{"0": "in"}}')
    for key, name in content.items():
        if name not in list(EASINGS):
            choices = ", ".join(EASINGS)
            raise InputError(f"{where}, frame {key}: the easing is {str(name)[:20]!r}; choose from {choices}")
        if key not in map(str, keys):
            raise InputError(f'{where}: "easing" names frame {key!r}, which "boxes" does not hold')
    return {int(key): name for key, name in content.items()}


def interpolate(
    keys: Mapping[int, PixelBox | None], num_frames: int, easing: Mapping[int, str] = {}
) -> list[PixelBox | None]:
    """A box, or None, for each frame, from key frames.

    Linear between two boxes, or as the `easing` of the first says; absent before the first key; the last box holds to
    the end; after a None the object is absent until the next box, where it is back without interpolation.
    """
    track: list[PixelBox | None] = [None] * num_frames
    order = sorted(keys)
    for start, end in zip(order, [*order[1:], num_frames], strict=True):
        first, last = keys[start], keys.get(end)
        if first is None:
            continue
        ease = EASINGS[easing.get(start, "linear")]
        for frame in range(start, end):
            t = ease((frame - start) / (end - start)) if last is not None else 0.0
            x1, y1, x2, y2 = ((1 - t) * a + t * b for a, b in zip(first, last or first, strict=True))
            track[frame] = (x1, y1, x2, y2)
    return track


def make_track(
    keys: KeyFrames, num_frames: int, size: tuple[int, int], what: str, easing: Mapping[int, str] = {}
) -> list[PixelBox | None]:
    """A box in 0..1, or None, for each frame; cut to the image (`size`: width, height) with a warning."""
    width, height = size
    boxes = [box for box in keys.values() if box is not None]
    if boxes and all(max(box) <= 1 for box in boxes):
        raise InputError(f"{what}: all boxes lie within one pixel; give pixels of the image ({width} x {height})")
    track = interpolate(keys, num_frames, easing)
    there = [(frame, box) for frame, box in enumerate(track) if box is not None]
    if beyond := [str(frame) for frame, (x1, y1, x2, y2) in there if min(x1, y1) < 0 or x2 > width or y2 > height]:
        where = f"the image ({width} x {height})"
        logger.warning(f"{what}: boxes reach beyond {where} and were cut at frames {', '.join(beyond)}")
    return [None if box is None else _inside(box, size) for box in track]


def _inside(box: PixelBox, size: tuple[int, int]) -> PixelBox:
    """The part of a box inside the image, xyxy in 0..1; empty (x2 <= x1 or y2 <= y1) where there is none."""
    (x1, y1, x2, y2), (width, height) = box, size
    return max(x1, 0) / width, max(y1, 0) / height, min(x2, width) / width, min(y2, height) / height


def _frame_index(text: str, num_frames: int | None, where: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise InputError(f"{where}: {text!r} is not a frame number")
    if num_frames is not None and int(text) >= num_frames:
        fix = "raise --video_length if the video is yet to be made"
        raise InputError(f"{where}: frame {int(text)} is beyond the last frame, {num_frames - 1}; {fix}")
    return int(text)


def _box(values: Sequence[Any], size: tuple[int, int], where: str) -> PixelBox:
    shown = ",".join(str(value).strip()[:20] for value in values[:8])
    try:
        if any(isinstance(value, bool) or "_" in str(value) for value in values):  # Python reads True as 1, 1_0 as 10
            raise ValueError(values)
        x1, y1, x2, y2 = map(float, values)
    except (TypeError, ValueError, OverflowError):
        x1 = y1 = x2 = y2 = math.nan
    if not all(map(math.isfinite, (x1, y1, x2, y2))):
        raise InputError(f"{where}: a box is four numbers x1,y1,x2,y2 in pixels, separated by commas, not {shown}")
    if x2 <= x1 or y2 <= y1:
        raise InputError(f"{where}: {shown} is empty: write x1,y1,x2,y2 with x2 > x1 and y2 > y1, not x,y,w,h")
    left, top, right, bottom = _inside((x1, y1, x2, y2), size)
    if min(right - left, bottom - top) < _SMALLEST:
        fix = f"use x from 0 to {size[0]}, y to {size[1]}"
        raise InputError(f"{where}: {shown} lies outside the image, or covers too little of it to draw: {fix}")
    return x1, y1, x2, y2
