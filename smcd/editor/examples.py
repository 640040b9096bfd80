"""Scenes to begin with: first frames, boxes and captions of the synthetic world, which the built-in model knows."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image

from smcd.editor.other_tools import objects_of_paths
from smcd.editor.project import Contents, Image
from smcd.editor.settings import Settings
from smcd.runtime.media import write_image
from smcd.sprites.world import WORLDS, SpriteClip, make_clip

EXAMPLES = {"bouncing star": 8, "circling square": 11, "two circles": 3, "two squares": 13}  # clips of the world
_SEED, _SIDE, _FRAMES, _TOLERANCE, _THUMBNAIL = 5, 512, 8, 8, 192


def write_example(name: str, folder: Path, settings: Settings) -> Contents:
    """Write the image of an example into a folder, and give it with its boxes and prompt."""
    clip = _clip(name, _SIDE)
    write_image(folder / "img.png", clip.frames[0])
    boxes = np.where(clip.box_mask[..., None] > 0, clip.boxes * _SIDE, np.nan)  # F N 4
    paths = {sprite.phrase: path for sprite, path in zip(clip.sprites, boxes.swapaxes(0, 1), strict=True)}
    objects = objects_of_paths(paths, _FRAMES, _TOLERANCE)
    shown = replace(settings, prompt=clip.caption, num_frames=_FRAMES)
    return Contents(Image(folder / "img.png", (_SIDE, _SIDE)), objects, shown)


def thumbnail(name: str) -> bytes:
    """A small picture of an example, as PNG."""
    stream = io.BytesIO()
    PIL.Image.fromarray(_clip(name, _THUMBNAIL).frames[0]).save(stream, "PNG")
    return stream.getvalue()


def _clip(name: str, side: int) -> SpriteClip:
    return make_clip(_SEED, EXAMPLES[name], _FRAMES, side, WORLDS["built-in"])
