"""Boxes of other tools, each told by its extension and content: MOT text, COCO-video JSON, points of a spline editor.

All give a path with a box for each frame of theirs. It becomes key frames of the project: as it is where its frames are
no more than the project's, otherwise spread over them, so that the whole motion fits.
"""

import itertools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from smcd.editor.boxes import Objects
from smcd.runtime.errors import InputError
from smcd.tracking.key_paths import key_frames

TOLERANCE = 0.5  # pixels that key frames may differ from the boxes that are read
_LONGEST = 100_000  # frames
_SHARE = 0.25  # of the image's shorter side is the side of the box around a point, which has no size


def objects_of_paths(paths: Mapping[str, np.ndarray], num_frames: int, tolerance: float) -> Objects:
    """Objects with key frames, of their names and boxes F 4 (xyxy in pixels, NaN where absent)."""
    objects = []
    for phrase, boxes in paths.items():
        if len(boxes) > num_frames:
            boxes = boxes[np.linspace(0, len(boxes) - 1, num_frames).round().astype(int)]
        keys = {str(frame): box for frame, box in key_frames(boxes, tolerance).items()}
        if keys:
            objects.append({"phrase": phrase, "boxes": keys, "easing": {}})
    return objects


def read_mot(text: str) -> dict[str, np.ndarray]:
    """Lines `frame,id,left,top,width,height,...`; frames and pixels count from 1, and a seventh value of 0 is a no.

    Raises an InputError that names the line that does not fit.
    """
    found: dict[int, dict[int, list[float]]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            frame, track, left, top, width, height, *more = map(float, line.replace(",", " ").split())
            if not (1 <= frame <= _LONGEST and track.is_integer() and width > 0 and height > 0):
                raise ValueError
        except ValueError:
            raise InputError(f"line {number}: is not frame,id,left,top,width,height of MOT: {line[:60]!r}") from None
        if not more or more[0] != 0:
            box = [left - 1, top - 1, left - 1 + width, top - 1 + height]
            found.setdefault(int(track), {})[int(frame) - 1] = box
    return _named({f"object {track}": boxes for track, boxes in sorted(found.items())})


def read_coco(content: dict[str, Any], size: tuple[int, int]) -> dict[str, np.ndarray]:
    """COCO-video JSON, with `bboxes` in each annotation (YouTube-VIS), or a `bbox` for each image and track (COCO-VID).

    Boxes are x, y, width, height; they are scaled where the file says another size than the image's. Raises an
    InputError for a file with several videos, or one that is not as these formats say.
    """
    try:
        videos = content.get("videos") or [{}]
        if len(videos) > 1:
            raise InputError(f"holds {len(videos)} videos: cut it down to one")
        names = {each["id"]: str(each["name"]) for each in content.get("categories", [])}
        images = {each["id"]: each for each in content.get("images", [])}
        found: dict[Any, dict[int, list[float]]] = {}
        labels: dict[Any, str] = {}
        sizes = [videos[0], *images.values()]
        for number, annotation in enumerate(content["annotations"]):
            if "bboxes" in annotation:
                track, boxes = number, dict(enumerate(annotation["bboxes"]))
            else:
                image = images[annotation["image_id"]]
                track = annotation.get("track_id", annotation.get("instance_id"))
                boxes = {_number(image): annotation["bbox"]}
            labels[track] = names.get(annotation.get("category_id"), f"object {len(labels) + 1}")
            for frame, box in boxes.items():
                if box is not None:
                    x, y, width, height = map(float, box)
                    found.setdefault(track, {})[frame] = [x, y, x + width, y + height]
        given = next(
            ((each["width"], each["height"]) for each in sizes if each.get("width") and each.get("height")), size
        )
        scale = [own / theirs for own, theirs in zip(size, given, strict=True)] * 2
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, ZeroDivisionError):
        raise InputError("is not COCO-video JSON as YouTube-VIS or COCO-VID have it") from None
    counted = {f"{labels[track]} {n}": boxes for n, (track, boxes) in enumerate(found.items(), start=1)}
    if len(set(labels.values())) == len(found):
        counted = {labels[track]: boxes for track, boxes in found.items()}
    return {name: boxes * scale for name, boxes in _named(counted).items()}


def _number(image: Mapping[str, Any]) -> int:
    """The number of an image in its video; formats name it differently."""
    return int(next(image[key] for key in ("frame_id", "frame_index", "mot_frame_id", "id") if key in image))


def _named(found: Mapping[str, Mapping[int, list[float]]]) -> dict[str, np.ndarray]:
    """Boxes F 4 by name, of boxes by frame; F is one more than the last frame of all."""
    frames = [frame for boxes in found.values() for frame in boxes]
    if not frames or not 0 <= min(frames) <= max(frames) < _LONGEST:
        raise InputError("holds no boxes")
    paths = {name: np.full((max(frames) + 1, 4), np.nan) for name in found}
    for name, boxes in found.items():
        for frame, box in boxes.items():
            paths[name][frame] = box
    return paths


def is_points(content: Any) -> bool:
    """Whether JSON is what the spline editors of ComfyUI give."""
    return (
        bool(content) and isinstance(content, list) and _track(content[0] if _several(content) else content) is not None
    )


def read_points(content: list[Any], size: tuple[int, int], num_frames: int) -> dict[str, np.ndarray]:
    """One list of points, or several, as paths of squares around them, spread evenly over the frames.

    A point is {"x": 10, "y": 20} or [10, 20], in pixels of the image. Raises an InputError for a list of another kind.
    """
    tracks = [_track(each) for each in content] if _several(content) else [_track(content)]
    half = _SHARE * min(size) / 2
    paths = {}
    for number, points in enumerate(tracks, start=1):
        if points is None:
            raise InputError(f"path {number} should hold points {{x, y}}")
        places = np.linspace(0, len(points) - 1, num_frames)
        x, y = (np.interp(places, np.arange(len(points)), axis) for axis in np.array(points).T)
        paths[f"object {number}"] = np.stack([x - half, y - half, x + half, y + half], axis=-1)
    return paths


def _several(content: list[Any]) -> bool:
    first = content[0]
    return isinstance(first, str) or (isinstance(first, list) and bool(first) and not isinstance(first[0], int | float))


def _track(content: Any) -> list[tuple[float, float]] | None:
    """The points of one path, or None if it is none."""
    try:
        content = json.loads(content) if isinstance(content, str) else content
        pairs = [(point["x"], point["y"]) if isinstance(point, dict) else tuple(point) for point in content]
        points = [(float(x), float(y)) for x, y in pairs]
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    good = 0 < len(points) <= _LONGEST and all(map(math.isfinite, itertools.chain(*points)))
    return points if good else None


def looks_like_mot(path: Path, text: str) -> bool:
    """Whether text of several numbers in a line is MOT's, and not the four of a bbox.txt."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    return path.suffix.lower() in (".txt", ".csv") and ":" not in first and len(first.replace(",", " ").split()) >= 6
