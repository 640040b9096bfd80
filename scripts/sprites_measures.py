"""How well a video shows a sprites scene: masks, shapes, colors, and pixels of first frame, clip and ground."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from smcd.sprites.shapes import coverage
from smcd.sprites.world import Sprite, SpriteClip, World
from smcd.tracking.color import color_masks, nearest_colors

WHOLE = 0.9  # of an object that is visible: what is hidden more has no shape to be kept
_MARGIN = 2  # pixels around the objects that are not ground


@dataclass(frozen=True)
class Measures:
    """Of one video; each object in each frame after the first is a case.

    Attributes:
        overlaps: intersection over union of the mask that has the object's color with the true one, for each case.
        shapes: the true shape and whether it was kept, for each case in which the object is whole.
        colors: whether most of the true mask's pixels that have an object's color have the right one, for each case.
        first_frame, clip, ground: PSNR; the ground is what no object covers, its number that of the worst frame.
    """

    overlaps: list[float]
    shapes: list[tuple[str, bool]]
    colors: list[bool]
    first_frame: float
    clip: float
    ground: float


def measure(video: np.ndarray, clip: SpriteClip, world: World) -> Measures:
    """`video` is F H W 3, uint8, as the clip's frames."""
    found = color_masks(video, [sprite.color for sprite in clip.sprites], world.colors)
    overlaps, shapes, colors = [], [], []
    for f in range(1, len(video)):
        nearest, _ = nearest_colors(video[f], world.colors)
        for n, sprite in enumerate(clip.sprites):
            if not clip.box_mask[f, n]:
                continue
            true, mask = clip.masks[f, n], found[f, n]
            overlaps.append(float((true & mask).sum() / (true | mask).sum()))
            seen = nearest[true & (nearest < len(world.colors))]
            colors.append(len(seen) > 0 and world.colors[np.bincount(seen).argmax()] == sprite.color)
            if clip.cover[f, n] >= WHOLE:
                shapes.append((sprite.shape, shape_of(mask, sprite, f, world.shapes) == sprite.shape))
    ground = [
        psnr(frame[where], true[where])
        for frame, true, where in zip(video, clip.frames, ~_grown(clip.masks.any(1)), strict=True)
    ]
    first, whole = psnr(video[0], clip.frames[0]), psnr(video, clip.frames)
    return Measures(overlaps, shapes, colors, first, whole, min(ground))


def shape_of(mask: np.ndarray, sprite: Sprite, frame: int, shapes: Sequence[str]) -> str | None:
    """The shape whose true mask is nearest to this one (H W, bool), turned as the sprite is in this frame, as large as
    the mask and in its place. None for an empty mask."""
    if not mask.any():
        return None
    rows, columns = np.nonzero(mask)
    center = np.array([columns.mean(), rows.mean()]) + 0.5
    overlaps = {}
    for shape in shapes:
        area = coverage(shape, center, 16.0, sprite.angle[frame], len(mask))[3] / 16.0**2  # of radius 1
        radius = float(np.sqrt(mask.sum() / area))
        alpha, y, x, _ = coverage(shape, center, radius, sprite.angle[frame], len(mask))
        candidate = np.zeros_like(mask)
        candidate[y, x] = alpha >= 0.5
        overlaps[shape] = (candidate & mask).sum() / (candidate | mask).sum()
    return max(overlaps, key=lambda shape: overlaps[shape])


def psnr(pixels: np.ndarray, true: np.ndarray) -> float:
    """Of uint8 pixels; 100 at most."""
    error = np.square(pixels.astype(float) - true.astype(float)).mean()
    return float(min(100.0, 10 * np.log10(255**2 / max(error, 1e-12))))


def _grown(masks: np.ndarray) -> np.ndarray:
    """Masks (F H W) with a margin around them."""
    size = 2 * _MARGIN + 1
    padded = np.pad(masks, ((0, 0), (_MARGIN, _MARGIN), (_MARGIN, _MARGIN)))
    return np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2)).any((-2, -1))


def summary(measures: Sequence[Measures]) -> dict[str, float]:
    """Means over all cases, and over the videos for the PSNRs; each shape's share too."""
    cases = [case for of_video in measures for case in of_video.shapes]
    numbers = {"mask_iou": np.mean([overlap for m in measures for overlap in m.overlaps])}
    numbers["shape_kept"] = np.mean([kept for _, kept in cases])
    for shape in sorted({shape for shape, _ in cases}):
        numbers[f"{shape}_kept"] = np.mean([kept for other, kept in cases if other == shape])
    numbers["color_kept"] = np.mean([kept for m in measures for kept in m.colors])
    for name in ("first_frame", "clip", "ground"):
        numbers[f"psnr_{name}"] = np.mean([getattr(m, name) for m in measures])
    return {name: float(number) for name, number in numbers.items()}
