"""Scenes for evaluating a sprites model: held-out clips, and paths unlike those of training."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from smcd.sprites.world import SpriteClip, World, make_clip

_SHIFT = 0.08  # of the side: how far boxes are moved to contradict the first frame
Boxes = list[list[list[float] | None]]


@dataclass(frozen=True)
class Scene:
    """What the model is given, and what it should give.

    Attributes:
        name: of its own; the noise follows from it.
        frames: the true video, F H W 3, uint8.
        boxes: F N 4, xyxy in 0..1; NaN where absent.
        phrases, colors: of the N objects.
        prompt: what happens.
    """

    name: str
    frames: np.ndarray
    boxes: np.ndarray
    phrases: list[str]
    colors: list[str]
    prompt: str

    def given_boxes(self, slots: int) -> Boxes:
        """F lists of `slots` boxes, None where absent."""
        rows = [[None if np.isnan(box).any() else box.tolist() for box in row] for row in self.boxes]
        return [[*row, *[None] * (slots - len(row))] for row in rows]

    def without_boxes(self, slots: int) -> Boxes:
        """The same number of objects, all of them absent: null tokens."""
        return [[None] * slots for _ in self.boxes]


def scene_of(name: str, clip: SpriteClip) -> Scene:
    boxes = np.where(clip.box_mask[..., None] > 0, clip.boxes, np.nan).astype(np.float64)
    sprites = clip.sprites
    return Scene(name, clip.frames, boxes, [s.phrase for s in sprites], [s.color for s in sprites], clip.caption)


def held_out(seed: int, count: int, frames: int, size: int, world: World) -> list[Scene]:
    """Scenes of a world that was never trained on."""
    return [scene_of(f"held-{index:04d}", make_clip(seed, index, frames, size, world)) for index in range(count)]


def shifted(scenes: list[Scene]) -> list[Scene]:
    """Boxes moved a little, so that the first frame contradicts them."""
    moved = []
    for scene in scenes:
        center = np.nanmean((scene.boxes[..., :2] + scene.boxes[..., 2:]) / 2, axis=(0, 1))
        step = np.where(center > 0.5, -_SHIFT, _SHIFT)  # towards the middle
        moved.append(replace(scene, boxes=np.clip(scene.boxes + np.tile(step, 2), 0, 1)))
    return moved


def along(
    path: Callable[[np.ndarray], np.ndarray], scenes: int, seed: int, frames: int, size: int, world: World
) -> list[Scene]:
    """Scenes of one object that moves along `path` (time in 0..1 -> centers F 2)."""
    alone, centers = replace(world, objects=(1, 1)), path(np.linspace(0, 1, frames))
    clips = [make_clip(seed, index, frames, size, alone, [centers]) for index in range(scenes)]
    return [scene_of(f"path-{path.__name__}-{index:04d}", clip) for index, clip in enumerate(clips)]


def spiral(time: np.ndarray) -> np.ndarray:
    angle, reach = 2.5 * np.pi * time, 0.08 + 0.2 * time
    return 0.5 + reach[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def zigzag(time: np.ndarray) -> np.ndarray:
    return np.stack([0.25 + 0.5 * time, 0.5 + 0.2 * np.where(np.arange(len(time)) % 2, 1, -1)], axis=-1)


def crossing(scenes: int, seed: int, frames: int, size: int, world: World) -> list[Scene]:
    """Two objects that pass through each other's place."""
    both, time = replace(world, objects=(2, 2)), np.linspace(0, 1, frames)
    made = []
    for index in range(scenes):
        height = np.random.default_rng((seed, index, 7)).uniform(-0.12, 0.12)
        right = np.stack([0.25 + 0.5 * time, np.full(frames, 0.5 + height)], axis=-1)
        left = np.stack([0.75 - 0.5 * time, np.full(frames, 0.5 - height)], axis=-1)
        made.append(scene_of(f"cross-{index:04d}", make_clip(seed, index, frames, size, both, [right, left])))
    return made
