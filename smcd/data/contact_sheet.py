"""A picture of what training sees: frames with boxes and phrases, and captions."""

import textwrap
from collections.abc import Sequence

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from smcd.data.clips import Clip
from smcd.runtime.media import draw_boxes, strip

_CELL = 160  # height of a frame, in pixels
_COLUMNS = 4  # single images side by side
_LINE = 16


def contact_sheet(clips: Sequence[Clip]) -> np.ndarray:
    """Each clip as a row of up to 8 frames below its name and caption; single images four in a row.

    Returns a picture, H W 3, uint8. Raises a ValueError for clips without frames (from a cache).
    """
    cells = [_titled(clip, strip(_drawn(clip))) for clip in clips]
    if all(len(clip.boxes) == 1 for clip in clips):
        rows = [_padded(cells[n : n + _COLUMNS], axis=0) for n in range(0, len(cells), _COLUMNS)]
        cells = [np.concatenate(row, axis=1) for row in rows]
    return np.concatenate(_padded(cells, axis=1))


def _drawn(clip: Clip) -> np.ndarray:
    """Frames at a readable size, boxes drawn: F H W 3."""
    if clip.frames is None:
        raise ValueError(f"{clip.name}: has no frames, only cached latents; leave out train_data.latents")
    pixels = clip.frames.numpy()
    height, width = pixels.shape[1:3]
    size = (round(width * _CELL / height), _CELL)
    large = np.stack([np.asarray(PIL.Image.fromarray(frame).resize(size)) for frame in pixels])
    boxes = [
        [box.tolist() if there else None for box, there in zip(*frame, strict=True)]
        for frame in zip(clip.boxes, clip.box_mask, strict=True)
    ]
    return draw_boxes(large, boxes, clip.phrases)


def _titled(clip: Clip, picture: np.ndarray) -> np.ndarray:
    """The picture with the clip's name and caption above it."""
    font = PIL.ImageFont.load_default(size=12)
    width = picture.shape[1]
    wrapped = textwrap.wrap(clip.prompt, max(10, width // 7))[:3]
    lines = [clip.name, *wrapped, *[""] * (3 - len(wrapped))] if width < 400 else [clip.name, *wrapped]
    title = PIL.Image.new("RGB", (width, _LINE * len(lines) + 4), "white")
    draw = PIL.ImageDraw.Draw(title)
    for number, line in enumerate(lines):
        draw.text((4, 2 + _LINE * number), line, fill="black" if number else "#777777", font=font)
    return np.concatenate([np.asarray(title), picture])


def _padded(pictures: list[np.ndarray], axis: int) -> list[np.ndarray]:
    """Pictures filled up with white to the largest one's extent along an axis."""
    most = max(picture.shape[axis] for picture in pictures)
    missing = [[(0, most - p.shape[axis] if n == axis else 0) for n in range(3)] for p in pictures]
    return [np.pad(p, by, constant_values=255) for p, by in zip(pictures, missing, strict=True)]
