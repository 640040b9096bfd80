"""Scenes to begin with: first frames, boxes and captions of the synthetic world, which the built-in model knows."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from smcd.editor.project import Contents, Image
from smcd.editor.settings import Settings
from smcd.runtime.media import write_image
from smcd.sprites.world import WORLDS, make_clip
from smcd.tracking.key_paths import key_frames

EXAMPLES = {"bouncing star": 8, "circling square": 11, "two circles": 3, "two squares": 13}  # clips of the world
_SEED, _SIDE, _FRAMES, _TOLERANCE = 5, 512, 8, 8


def write_example(name: str, folder: Path, settings: Settings) -> Contents:
    """Write the image of an example into a folder, and give it with its boxes and prompt."""
    clip = make_clip(_SEED, EXAMPLES[name], _FRAMES, _SIDE, WORLDS["built-in"])
    write_image(folder / "img.png", clip.frames[0])
    boxes = np.where(clip.box_mask[..., None] > 0, clip.boxes * _SIDE, np.nan)  # F N 4
    objects = [
        {
            "phrase": sprite.phrase,
            "boxes": {str(k): box for k, box in key_frames(path, _TOLERANCE).items()},
            "easing": {},
        }
        for sprite, path in zip(clip.sprites, boxes.swapaxes(0, 1), strict=True)
    ]
    shown = replace(settings, prompt=clip.caption, num_frames=_FRAMES)
    return Contents(Image(folder / "img.png", (_SIDE, _SIDE)), objects, shown)
