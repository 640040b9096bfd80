"""Where the sprites are in a video: an exact tracker for a world whose objects differ in color."""

from collections.abc import Sequence

import numpy as np

from smcd.sprites.world import COLORS

_NEAREST = 90.0  # of 441: a pixel that is further from a color than this is none of it
_MIN_PIXELS = 6  # of an object, at 64 x 64


def track_colors(frames: np.ndarray, colors: Sequence[str], known: Sequence[str] = tuple(COLORS)) -> np.ndarray:
    """Boxes of the objects with these colors: F N 4, xyxy in 0..1; NaN where a color is not to be seen.

    A pixel belongs to the nearest of the `known` colors (sprites are lit from above), unless it is nearer to the
    frame's background; specks without neighbors of their color do not count.

    Args:
        frames: F H W 3, uint8.
        colors: names of `COLORS`.
        known: colors that occur in the world.
    """
    height, width = frames.shape[1:3]
    boxes = np.full((len(frames), len(colors), 4), np.nan)
    for f, n in np.argwhere((masks := color_masks(frames, colors, known)).any((2, 3))):
        rows, columns = np.flatnonzero(masks[f, n].any(1)), np.flatnonzero(masks[f, n].any(0))
        box = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        boxes[f, n] = np.array(box) / [width, height, width, height]
    return boxes


def color_masks(frames: np.ndarray, colors: Sequence[str], known: Sequence[str] = tuple(COLORS)) -> np.ndarray:
    """Masks of the objects with these colors: F N H W, bool, empty where a color is not to be seen.

    Arguments as of `track_colors`.
    """
    return np.stack([_masks(frame.astype(np.float32), colors, known) for frame in frames])


def nearest_colors(frame: np.ndarray, known: Sequence[str] = tuple(COLORS)) -> tuple[np.ndarray, np.ndarray]:
    """For each pixel of a frame (H W 3) the place in `known` of its color, `len(known)` where the background is nearer,
    and its distances from the known colors, K H W."""
    frame = frame.astype(np.float32)
    light = 1 + 0.16 * np.linspace(1, -1, len(frame), dtype=np.float32)[:, None, None]
    distances = [np.linalg.norm(frame - np.clip(np.array(COLORS[name]) * light, 0, 255), axis=-1) for name in known]
    background = np.linalg.norm(frame - np.median(frame, axis=(0, 1)), axis=-1)
    return np.argmin([*distances, background], axis=0), np.stack(distances)


def _masks(frame: np.ndarray, colors: Sequence[str], known: Sequence[str]) -> np.ndarray:
    nearest, distances = nearest_colors(frame, known)
    masks = np.zeros((len(colors), *frame.shape[:2]), dtype=bool)
    for n, color in enumerate(colors):
        number = list(known).index(color)
        mask = _without_specks((nearest == number) & (distances[number] < _NEAREST))
        if mask.sum() >= _MIN_PIXELS * mask.size / 64**2:
            masks[n] = mask
    return masks


def _without_specks(mask: np.ndarray) -> np.ndarray:
    """Pixels with at least three neighbors (of eight) in the mask."""
    padded = np.pad(mask.astype(np.int8), 1)
    shifts = [(dy, dx) for dy in range(3) for dx in range(3) if (dy, dx) != (1, 1)]
    height, width = mask.shape
    neighbors = np.sum([padded[dy : dy + height, dx : dx + width] for dy, dx in shifts], axis=0)
    return mask & (neighbors >= 3)
