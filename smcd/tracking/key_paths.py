"""A tracked path, with a box for each frame, becomes the few key frames that say nearly the same."""

import numpy as np


def key_frames(boxes: np.ndarray, tolerance: float) -> dict[int, list[float] | None]:
    """Key frames between which linear motion stays within `tolerance` pixels of every coordinate of the boxes.

    The Ramer-Douglas-Peucker algorithm over time, on the four coordinates at once.

    Args:
        boxes: F 4, xyxy in pixels, NaN where the object is absent.

    Returns:
        Boxes by frame, rounded to hundredths of a pixel; None at the first frame without the object after one with it.
    """
    there = ~np.isnan(boxes).any(-1)
    keys: dict[int, list[float] | None] = {}
    for frame in np.flatnonzero(np.diff(there, prepend=False)):  # where it appears or disappears
        if not there[frame]:
            keys[int(frame)] = None
            continue
        absent = np.flatnonzero(~there[frame:])
        end = frame + absent[0] if len(absent) else len(boxes)
        keys |= {int(k): np.round(boxes[k], 2).tolist() for k in _kept(boxes, int(frame), int(end) - 1, tolerance)}
    return keys


def _kept(boxes: np.ndarray, first: int, last: int, tolerance: float) -> list[int]:
    """The frames to keep of first to last, both included."""
    kept, segments = {first, last}, [(first, last)]
    while segments:
        start, end = segments.pop()
        time = (np.arange(start, end + 1) - start)[:, None] / max(end - start, 1)
        line = (1 - time) * boxes[start] + time * boxes[end]
        distance = np.abs(boxes[start : end + 1] - line).max(-1)
        worst = start + int(distance.argmax())
        if distance.max() > tolerance:
            kept.add(worst)
            segments += [(start, worst), (worst, end)]
    return sorted(kept)
