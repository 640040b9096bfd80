"""Boxes that users write by hand: a line for each frame, or key frames between which a box moves linearly."""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from smcd.runtime.errors import InputError

logger = logging.getLogger(__name__)

_SMALLEST = 1e-5  # of the image's side: what is left of a box inside the image must be more
PixelBox = tuple[float, float, float, float]
KeyFrames = dict[int, PixelBox | None]


def read_bbox_txt(path: Path, num_frames: int, size: tuple[int, int]) -> KeyFrames:
    """F lines of `x1,y1,x2,y2`, or key frames `k: x1,y1,x2,y2` in any order.

    Raises:
        InputError: naming the line.
    """
    lines = _read_text(path).rstrip().splitlines()
    if not lines:
        raise InputError(f"{path}: is empty; write a line x1,y1,x2,y2 for each of the {num_frames} frames")
    keyed = ":" in lines[0]
    keys: KeyFrames = {}
    for number, line in enumerate(lines, start=1):
        where = f"{path}:{number}"
        if (":" in line) != keyed:
            raise InputError(f"{where}: {line!r}: either every line starts with its frame (k: x1,y1,x2,y2) or none")
        frame, _, values = line.rpartition(":")
        index = _frame_index(frame.strip(), num_frames, where) if keyed else number - 1
        if index in keys:
            raise InputError(f"{where}: frame {index} was given before; delete one of the lines")
        keys[index] = _box(values.split(","), size, where)
    if not keyed and len(lines) != num_frames:
        raise InputError(
            f"{path}: {len(lines)} lines for {num_frames} frames; set --video_length {len(lines)}, or write key frames "
            "(k: x1,y1,x2,y2)"
        )
    return keys


def read_objects_json(path: Path, num_frames: int, size: tuple[int, int]) -> list[tuple[str, KeyFrames]]:
    """`[{"phrase": ..., "boxes": {"0": [x1, y1, x2, y2], "6": null}}]` as phrases with key frames.

    Raises:
        InputError: naming the line, or the object and frame.
    """
    return parse_objects(read_json(path), num_frames, size, str(path))


def read_json(path: Path) -> Any:
    """A JSON file in which no key is given twice. Raises an InputError naming the line."""
    try:
        return json.loads(_read_text(path), object_pairs_hook=_no_duplicates)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: not JSON: {error.msg} (column {error.colno})") from None
    except RecursionError:
        raise InputError(f"{path}: is nested too deeply") from None
    except ValueError as error:  # a key given twice, a number of thousands of digits
        raise InputError(f"{path}: {error}") from None


def parse_objects(content: Any, num_frames: int, size: tuple[int, int], where: str) -> list[tuple[str, KeyFrames]]:
    """The content of such a file; `size` is width and height. Raises an InputError naming the object and frame."""
    if not isinstance(content, list) or not content:
        raise InputError(f'{where}: should be a list of objects: [{{"phrase": "red car", "boxes": {{"0": [...]}}}}]')
    return [
        _read_object(item, num_frames, size, f"{where}: object {number}")
        for number, item in enumerate(content, start=1)
    ]


def _read_object(item: Any, num_frames: int, size: tuple[int, int], where: str) -> tuple[str, KeyFrames]:
    if not isinstance(item, dict) or not {"phrase", "boxes"} <= item.keys():
        raise InputError(f'{where}: needs "phrase" and "boxes"')
    if unknown := item.keys() - {"phrase", "boxes"}:
        raise InputError(f'{where}: unknown key "{min(unknown)}"; an object has "phrase" and "boxes"')
    phrase, boxes = item["phrase"], item["boxes"]
    if not isinstance(phrase, str) or not phrase.strip() or not is_text(phrase):
        raise InputError(f'{where}: "phrase" should be a name such as "red car", not {phrase!r}')
    where = f'{where} ("{phrase}")'
    if not isinstance(boxes, dict) or not any(box is not None for box in boxes.values()):
        raise InputError(f'{where}: "boxes" should hold at least one frame with a box: {{"0": [x1, y1, x2, y2]}}')
    keys: KeyFrames = {}
    for key, box in boxes.items():
        index = _frame_index(key, num_frames, where)
        if index in keys:
            raise InputError(f"{where}: frame {index} is given twice")
        if box is not None and (not isinstance(box, list) or any(isinstance(value, str) for value in box)):
            raise InputError(f"{where}, frame {key}: a box is [x1, y1, x2, y2] or null, not {box!r}")
        keys[index] = None if box is None else _box(box, size, f"{where}, frame {key}")
    return phrase, keys


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f'key "{next(n for n in names if names.count(n) > 1)}" is given twice')
    return content


def interpolate(keys: Mapping[int, PixelBox | None], num_frames: int) -> list[PixelBox | None]:
    """A box, or None, for each frame, from key frames.

    Linear between two boxes; absent before the first key; the last box holds to the end; after a None the object is
    absent until the next box, where it is back without interpolation.
    """
    track: list[PixelBox | None] = [None] * num_frames
    order = sorted(keys)
    for start, end in zip(order, [*order[1:], num_frames], strict=True):
        first, last = keys[start], keys.get(end)
        if first is None:
            continue
        for frame in range(start, end):
            t = (frame - start) / (end - start) if last is not None else 0.0
            x1, y1, x2, y2 = ((1 - t) * a + t * b for a, b in zip(first, last or first, strict=True))
            track[frame] = (x1, y1, x2, y2)
    return track


def is_text(text: str) -> bool:
    """Whether the text can be written down (a lone surrogate, from a broken terminal or file, cannot)."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def make_track(keys: KeyFrames, num_frames: int, size: tuple[int, int], what: str) -> list[PixelBox | None]:
    """A box in 0..1, or None, for each frame; cut to the image (`size`: width, height) with a warning."""
    width, height = size
    boxes = [box for box in keys.values() if box is not None]
    if boxes and all(max(box) <= 1 for box in boxes):
        raise InputError(
            f"{what}: all boxes lie within one pixel; give pixels of the image ({width} x {height}), not parts of it"
        )
    track = interpolate(keys, num_frames)
    beyond = [
        str(frame)
        for frame, box in enumerate(track)
        if box is not None and (min(box[:2]) < 0 or box[2] > width or box[3] > height)
    ]
    if beyond:
        where = f"the image ({width} x {height})"
        logger.warning(f"{what}: boxes reach beyond {where} and were cut at frames {', '.join(beyond)}")
    return [None if box is None else _inside(box, size) for box in track]


def _inside(box: PixelBox, size: tuple[int, int]) -> PixelBox:
    """The part of a box inside the image, xyxy in 0..1; empty (x2 <= x1 or y2 <= y1) where there is none."""
    (x1, y1, x2, y2), (width, height) = box, size
    return max(x1, 0) / width, max(y1, 0) / height, min(x2, width) / width, min(y2, height) / height


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not a text file in UTF-8; save it again as plain text") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def _frame_index(text: str, num_frames: int, where: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise InputError(f"{where}: {text!r} is not a frame number")
    if int(text) >= num_frames:
        raise InputError(
            f"{where}: frame {int(text)} is beyond the last frame, {num_frames - 1} (there are {num_frames}; "
            "--video_length of a video that is to be made)"
        )
    return int(text)


def _box(values: Sequence[Any], size: tuple[int, int], where: str) -> PixelBox:
    if len(values) != 4:
        raise InputError(f"{where}: a box is four numbers x1,y1,x2,y2, found {len(values)}: {_text(values)}")
    if any(isinstance(value, bool) or not isinstance(value, int | float | str) for value in values):
        raise InputError(f"{where}: a box is four numbers x1,y1,x2,y2, not {_text(values)}")
    try:
        x1, y1, x2, y2 = (float(_plain(value)) for value in values)
    except (ValueError, OverflowError):
        raise InputError(f"{where}: not numbers: {_text(values)}; write x1,y1,x2,y2 in pixels") from None
    if not all(map(math.isfinite, (x1, y1, x2, y2))):
        raise InputError(f"{where}: not finite: {_text(values)}; write x1,y1,x2,y2 in pixels")
    if x2 <= x1 or y2 <= y1:
        raise InputError(f"{where}: {_text(values)} is empty: write x1,y1,x2,y2 with x2 > x1 and y2 > y1, not x,y,w,h")
    left, top, right, bottom = _inside((x1, y1, x2, y2), size)
    if right <= left or bottom <= top:
        raise InputError(f"{where}: {_text(values)} lies outside the image: use x from 0 to {size[0]}, y to {size[1]}")
    if right - left < _SMALLEST or bottom - top < _SMALLEST:
        raise InputError(f"{where}: what {_text(values)} covers of the image is too thin to draw: make the box larger")
    return x1, y1, x2, y2


def _plain(value: Any) -> Any:
    if isinstance(value, str) and "_" in value:  # Python reads 1_0 as 10
        raise ValueError(value)
    return value


def _text(values: Sequence[Any]) -> str:
    return ",".join(str(value).strip()[:20] for value in values[:8])
