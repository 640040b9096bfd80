"""An exact tracker for a world whose objects differ in color, such as the sprites."""

from collections.abc import Mapping, Sequence

import numpy as np

from smcd.tracking.box_trackers import mask_extent

_NEAREST = 90.0  # the largest distance, of 441, at which a pixel still has a color
_MIN_PIXELS = 6  # of an object, at 64 x 64


def track_colors(frames: np.ndarray, colors: Sequence[str], palette: Mapping[str, tuple[int, int, int]]) -> np.ndarray:
    """Boxes of the objects with these colors: F N 4, xyxy in 0..1; NaN where a color is not to be seen.

    A pixel belongs to the nearest color of the palette (objects are lit from above), unless it is nearer to the
    frame's background; specks without neighbors of their color do not count.

    Args:
        frames: F H W 3, uint8.
        colors: N names from the palette.
        palette: name -> RGB (0..255) of all colors that occur in the world.
    """
    return np.stack([_boxes(frame.astype(np.float32), colors, palette) for frame in frames])


def _boxes(frame: np.ndarray, colors: Sequence[str], palette: Mapping[str, tuple[int, int, int]]) -> np.ndarray:
    height, width = frame.shape[:2]
    light = 1 + 0.16 * np.linspace(1, -1, height, dtype=np.float32)[:, None, None]
    distances = [np.linalg.norm(frame - np.clip(np.array(rgb) * light, 0, 255), axis=-1) for rgb in palette.values()]
    background = np.linalg.norm(frame - np.median(frame, axis=(0, 1)), axis=-1)
    nearest = np.argmin([*distances, background], axis=0)  # K + 1 H W -> H W
    boxes = np.full((len(colors), 4), np.nan)
    for n, color in enumerate(colors):
        number = list(palette).index(color)
        mask = _without_specks((nearest == number) & (distances[number] < _NEAREST))
        if mask.sum() >= _MIN_PIXELS * height * width / 64**2:
            boxes[n] = mask_extent(mask) / [width, height, width, height]
    return boxes


def _without_specks(mask: np.ndarray) -> np.ndarray:
    """Pixels with at least three neighbors (of eight) in the mask."""
    padded = np.pad(mask.astype(np.int8), 1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))  # H W 3 3
    return mask & (windows.sum((-2, -1)) - mask >= 3)
