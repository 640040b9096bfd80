"""Grounding accuracy: AO and SR as the GOT-10k toolkit defines them, track IoU as YouTube-VIS does.

Boxes are float arrays xyxy in pixels, NaN where there is no box. Frame 0, which the tracker is given, is never scored.
"""

from typing import NamedTuple

import numpy as np

_EPS = np.finfo(float).eps


def iou(prediction: np.ndarray, truth: np.ndarray, height: float, width: float) -> np.ndarray:
    """IoU of boxes ... 4 with boxes ... 4, as the GOT-10k toolkit's `rect_iou` with `bound`.

    No +1, and a float epsilon in the denominator. NaN where the truth has no box, 0 where only the prediction has none.
    """
    shared, union = _areas(prediction, truth, height, width)
    return np.where(np.isnan(truth).any(-1), np.nan, np.clip(shared / (union + _EPS), 0, 1))


def _areas(a: np.ndarray, b: np.ndarray, height: float, width: float) -> tuple[np.ndarray, np.ndarray]:
    """Areas ... of intersection and union; a box that is not there has none."""
    (corner_a, size_a), (corner_b, size_b) = _bounded(a, height, width), _bounded(b, height, width)
    sides = np.minimum(corner_a + size_a, corner_b + size_b) - np.maximum(corner_a, corner_b)
    shared = np.nan_to_num(np.maximum(sides, 0)).prod(-1)
    return shared, np.nan_to_num(size_a).prod(-1) + np.nan_to_num(size_b).prod(-1) - shared


def _bounded(boxes: np.ndarray, height: float, width: float) -> tuple[np.ndarray, np.ndarray]:
    """Upper left corner and size of boxes clipped to the image, each ... 2.

    The toolkit moves a corner that lies outside to the edge and cuts the size only at the far edge. For boxes of our
    trackers, which are cut already, this makes no difference.
    """
    limit = np.array([width, height], dtype=np.float64)
    corner = np.clip(boxes[..., :2], 0, limit)
    return corner, np.clip(boxes[..., 2:] - boxes[..., :2], 0, limit - corner)


class Grounding(NamedTuple):
    """How well the N objects of one clip follow their boxes; NaN where nothing is scored."""

    overlap: np.ndarray  # IoU, F N; not scored: frame 0, no truth, `cover` 0, no box to start from
    track_iou: np.ndarray  # N, sum of intersections over sum of unions


def ground(
    prediction: np.ndarray, truth: np.ndarray, height: int, width: int, cover: np.ndarray | None = None
) -> Grounding:
    """Score boxes F N 4 against boxes F N 4 in frames of `height` x `width` pixels.

    An object without a truth in frame 0 cannot be tracked and is not scored, nor are, as in GOT-10k, frames where
    `cover` (F N, the visible part of the object on any scale) is 0.
    """
    started = ~np.isnan(truth[0]).any(-1)  # N
    overlap = iou(prediction, truth, height, width)
    overlap[0] = np.nan
    overlap[:, ~started] = np.nan
    if cover is not None:
        overlap[cover <= 0] = np.nan
    shared, union = _areas(prediction[1:], truth[1:], height, width)
    track_iou = np.clip(shared.sum(0) / (union.sum(0) + _EPS), 0, 1)
    scored = started & ~np.isnan(truth[1:]).any(-1).all(0)
    return Grounding(overlap, np.where(scored, track_iou, np.nan))


def success(overlap: np.ndarray) -> dict[str, float]:
    """AO, SR50 and SR75 (shares strictly above 0.5, 0.75) of IoUs of any shape but NaN; empty without any."""
    scored = overlap[~np.isnan(overlap)]
    if not len(scored):
        return {}
    means = {"ao": scored, "sr50": scored > 0.5, "sr75": scored > 0.75}
    return {name: float(values.mean()) for name, values in means.items()}


def track_success(track_iou: np.ndarray) -> dict[str, float]:
    """Mean track IoU and the share of tracks strictly above 0.5 and 0.75; empty without a scored track."""
    values = success(track_iou)
    return {f"track_{'iou' if name == 'ao' else name}": value for name, value in values.items()}


def class_means(overlaps: dict[str, np.ndarray]) -> dict[str, float]:
    """mAO, mSR50, mSR75: means over classes of AO and SR, which pool all IoUs of a class."""
    classes = [values for values in map(success, overlaps.values()) if values]
    names = classes[0] if classes else ()
    return {f"m{name}": float(np.mean([values[name] for values in classes])) for name in names}


def static(boxes: np.ndarray) -> np.ndarray:
    """The boxes F N 4 of a video that stands still: frame 0's, repeated."""
    return np.repeat(boxes[:1], len(boxes), axis=0)
