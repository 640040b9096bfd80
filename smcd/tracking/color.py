"""An exact tracker for a world whose objects differ in color, such as the sprites."""

from collections.abc import Mapping, Sequence

import numpy as np

from smcd.tracking.box_trackers import mask_extent

Palette = Mapping[str, tuple[int, int, int]]  # name -> RGB, 0..255
_NEAREST = 90.0  # the largest distance, of 441, at which a pixel still has a color
_MIN_PIXELS = 6  # of an object, at 64 x 64


def track_colors(frames: np.ndarray, colors: Sequence[str], palette: Palette) -> np.ndarray:
    """Boxes of the objects with these colors: F N 4, xyxy in 0..1; NaN where a color is not to be seen.

    A pixel belongs to the nearest color of the palette (objects are lit from above), unless it is nearer to the
    frame's background; specks without neighbors of their color do not count.

    Args:
        frames: F H W 3, uint8.
        colors: N names from the palette.
        palette: all colors that occur in the world.
    """
    height, width = frames.shape[1:3]
    boxes = np.full((len(frames), len(colors), 4), np.nan)
    for f, n in np.argwhere((masks := color_masks(frames, colors, palette)).any((2, 3))):
        boxes[f, n] = mask_extent(masks[f, n]) / [width, height, width, height]
    return boxes


def color_masks(frames: np.ndarray, colors: Sequence[str], palette: Palette) -> np.ndarray:
    """Masks of the objects with these colors: F N H W, bool, empty where a color is not to be seen.

    The arguments are those of `track_colors`.
    """
    return np.stack([_masks(frame, colors, palette) for frame in frames])


def nearest_colors(frame: np.ndarray, palette: Palette) -> tuple[np.ndarray, np.ndarray]:
    """For each pixel of a frame (H W 3) the place in the palette of its color, `len(palette)` where the background is
    nearer, and its distances from the palette's colors, K H W."""
    frame = frame.astype(np.float32)
    light = 1 + 0.16 * np.linspace(1, -1, len(frame), dtype=np.float32)[:, None, None]
    distances = [np.linalg.norm(frame - np.clip(np.array(rgb) * light, 0, 255), axis=-1) for rgb in palette.values()]
    background = np.linalg.norm(frame - np.median(frame, axis=(0, 1)), axis=-1)
    return np.argmin([*distances, background], axis=0), np.stack(distances)


def _masks(frame: np.ndarray, colors: Sequence[str], palette: Palette) -> np.ndarray:
    nearest, distances = nearest_colors(frame, palette)
    masks = np.zeros((len(colors), *frame.shape[:2]), dtype=bool)
    for n, color in enumerate(colors):
        number = list(palette).index(color)
        mask = _without_specks((nearest == number) & (distances[number] < _NEAREST))
        if mask.sum() >= _MIN_PIXELS * mask.size / 64**2:
            masks[n] = mask
    return masks


def _without_specks(mask: np.ndarray) -> np.ndarray:
    """Pixels with at least three neighbors (of eight) in the mask."""
    padded = np.pad(mask.astype(np.int8), 1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))  # H W 3 3
    return mask & (windows.sum((-2, -1)) - mask >= 3)
