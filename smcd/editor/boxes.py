"""Objects as the page has them: also half-made ones, which `smcd animate` would refuse."""

from pathlib import Path
from typing import Any

from smcd.data.key_frames import EASINGS, read_bbox_txt
from smcd.runtime.errors import InputError
from smcd.runtime.files import encodable, read_text

_FAR = 1e6  # no box lies this many pixels away
_MOST_OBJECTS, _MOST_KEYS, _LONGEST = 200, 10_000, 1000
_LOOKS = {"color": str, "hidden": bool}  # what only the page needs, and its type


Objects = list[dict[str, Any]]


def check_objects(content: Any, where: str = "objects") -> Objects:
    """The objects in JSON of the page or of `objects.json`, in one form.

    An object may have no box yet and no name, and key frames beyond the last frame: these are kept, and said when they
    are animated. Raises an InputError for anything that is no list of objects.
    """
    if not isinstance(content, list) or len(content) > _MOST_OBJECTS:
        raise InputError(f"{where}: should be a list of at most {_MOST_OBJECTS} objects")
    return [_object(item, f"{where}: object {number}") for number, item in enumerate(content, start=1)]


def _object(item: Any, where: str) -> dict[str, Any]:
    if not isinstance(item, dict) or not {"phrase", "boxes"} <= item.keys():
        raise InputError(f'{where}: needs "phrase" and "boxes"')
    if unknown := item.keys() - {"phrase", "boxes", "easing", *_LOOKS}:
        raise InputError(f'{where}: unknown key "{min(unknown)}"; an object has "phrase", "boxes" and "easing"')
    phrase, boxes, easing = item["phrase"], item["boxes"], item.get("easing", {})
    if not isinstance(phrase, str) or len(phrase) > _LONGEST or "\0" in phrase or not encodable(phrase):
        raise InputError(f'{where}: "phrase" should be a name such as "red car"')
    boxes = {str(frame): box for frame, box in enumerate(boxes)} if isinstance(boxes, list) else boxes
    if not isinstance(boxes, dict) or len(boxes) > _MOST_KEYS:
        raise InputError(f'{where}: "boxes" should hold at most {_MOST_KEYS} frames: {{"0": [x1, y1, x2, y2]}}')
    if not isinstance(easing, dict) or not all(value in EASINGS for value in map(str, easing.values())):
        raise InputError(f'{where}: "easing" should hold {", ".join(EASINGS)} by frame')
    looks = {key: item[key] for key, kind in _LOOKS.items() if isinstance(item.get(key), kind)}
    if len(looks.get("color", "")) > 32:
        raise InputError(f"{where}: the color is no color")
    keys = {str(_frame(key, where)): _box(box, f"{where}, frame {key}") for key, box in boxes.items()}
    return {
        "phrase": phrase,
        "boxes": dict(sorted(keys.items(), key=lambda pair: int(pair[0]))),
        "easing": {key: str(value) for key, value in easing.items() if key in keys},
        **looks,
    }


def _frame(key: Any, where: str) -> int:
    if not (isinstance(key, str) and key.isascii() and key.isdigit() and len(key) < 10):
        raise InputError(f"{where}: {str(key)[:40]!r} is not a frame number")
    return int(key)


def _box(box: Any, where: str) -> list[float] | None:
    if box is None:
        return None
    numbers = isinstance(box, list) and len(box) == 4 and all(type(value) in (int, float) for value in box)
    if not numbers or not all(abs(value) <= _FAR for value in box):  # nor NaN or infinity
        raise InputError(f"{where}: a box is [x1, y1, x2, y2] or null, not {str(box)[:40]}")
    if box[2] <= box[0] or box[3] <= box[1]:
        raise InputError(f"{where}: {box} is empty: write [x1, y1, x2, y2] with x2 > x1 and y2 > y1")
    return box


def read_bboxes(path: Path, num_frames: int, size: tuple[int, int]) -> tuple[Objects, int]:
    """The object of a `bbox.txt`, and how many frames it is for: its lines; with key frames at least `num_frames`."""
    keys = read_bbox_txt(path, None, size)
    frames = max(keys) + 1
    frames = max(frames, num_frames) if ":" in read_text(path) else frames
    return check_objects([{"phrase": "object", "boxes": {str(k): box and [*box] for k, box in keys.items()}}]), frames


def animated(objects: Objects) -> Objects:
    """The part that `smcd animate` reads."""
    return [
        {key: item[key] for key in ("phrase", "boxes", "easing") if key != "easing" or item.get(key)}
        for item in objects
    ]


def merged(objects: Objects, new: Objects) -> Objects:
    """The objects with new ones, which take the place, and the looks, of those that are called the same."""
    before = {item["phrase"]: item for item in objects}
    names = {item["phrase"] for item in new}
    return [item for item in objects if item["phrase"] not in names] + [
        before.get(item["phrase"], {}) | item for item in new
    ]


def fitted(objects: Objects, before: tuple[int, int], size: tuple[int, int]) -> Objects:
    """The objects for another image: as they are where all their boxes lie inside it, otherwise scaled with it."""
    boxes = [box for item in objects for box in item["boxes"].values() if box]
    inside = all(box[0] >= 0 and box[1] >= 0 and box[2] <= size[0] and box[3] <= size[1] for box in boxes)
    return objects if inside else scaled(objects, before, size)


def scaled(objects: Objects, before: tuple[int, int], size: tuple[int, int]) -> Objects:
    """The objects of an image of one width and height on one of another."""
    x, y = size[0] / before[0], size[1] / before[1]

    def scale(box: list[float] | None) -> list[float] | None:
        return box and [round(value * times, 2) for value, times in zip(box, (x, y, x, y), strict=True)]

    return [item | {"boxes": {key: scale(box) for key, box in item["boxes"].items()}} for item in objects]
