"""Scenes for evaluating a sprites model, the videos that it makes of them, and how well a video shows its scene.

Scenes are held-out clips, and clips with paths unlike those of training.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import PIL.Image
from tqdm import tqdm

from smcd.config import ModelConfig, check
from smcd.config.options import option
from smcd.evaluation.metrics.similarity import FrameFidelity
from smcd.runtime.errors import InputError
from smcd.runtime.pretrained import MissingModel
from smcd.sampler import Sampler, clip_generator, with_defaults
from smcd.sprites.layouts import make_world
from smcd.sprites.shapes import coverage
from smcd.sprites.world import Sprite, SpriteClip, World, make_clip
from smcd.tracking.color import color_masks, nearest_colors

SHIFT = 0.08  # of the side: how far boxes are moved to contradict the first frame
WHOLE = 0.9  # of an object that is visible: what is hidden more has no shape to be kept
THERE = 0.5
MARGIN = 2  # pixels around the objects that are not ground
Boxes = list[list[list[float] | None]]


@dataclass
class SceneOptions(ModelConfig):
    out: str = option("outputs/sprites_evaluation", "folder for the tables and the pictures")
    clips: int = option(64, "held-out scenes", low=1)
    seed: int = option(1000, "of the scenes' world; the model was trained on seed 0")
    world: str = option("built-in", "how rich the world is, as in the training's sprites_world")
    num_max_obj: int = option(4, "objects of a clip in training: scenes are filled up with absent ones")
    batch_size: int = option(8, "scenes that are sampled together", low=1)


Chosen = TypeVar("Chosen", bound=SceneOptions)


@dataclass(frozen=True)
class Scene:
    """What the model is given, and what it should give.

    Attributes:
        name: of its own; the noise follows from it.
        frames: the true video, F H W 3, uint8.
        boxes: F N 4, xyxy in 0..1; NaN where absent.
        phrases, colors: of the N objects.
        prompt: what happens.
        clip: the true video with its masks.
    """

    name: str
    frames: np.ndarray
    boxes: np.ndarray
    phrases: list[str]
    colors: list[str]
    prompt: str
    clip: SpriteClip

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
    return Scene(name, clip.frames, boxes, [s.phrase for s in sprites], [s.color for s in sprites], clip.caption, clip)


def held_out(seed: int, count: int, frames: int, size: int, world: World) -> list[Scene]:
    """Scenes of a world that was never trained on."""
    return [scene_of(f"held-{index:04d}", make_clip(seed, index, frames, size, world)) for index in range(count)]


def shifted(scenes: list[Scene]) -> list[Scene]:
    """Boxes moved a little, so that the first frame contradicts them."""
    moved = []
    for scene in scenes:
        center = np.nanmean((scene.boxes[..., :2] + scene.boxes[..., 2:]) / 2, axis=(0, 1))
        step = np.where(center > 0.5, -SHIFT, SHIFT)  # towards the middle
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


def prepare(config: Chosen) -> tuple[Chosen, World, list[Scene]]:
    """The config with the model's size and guidance, the world, and the held-out scenes.

    Raises:
        InputError: options that do not fit, weights that are not there, or no torchmetrics: before anything is sampled.
    """
    check(config)
    config = with_defaults(config)
    size = config.validation_data
    if size.width != size.height:
        raise InputError("sprites are square: --width and --height must be equal")
    if size.video_length < 2:
        raise InputError("video_length is 1; boxes are followed after the first frame: give at least 2")
    try:
        FrameFidelity()
    except MissingModel as error:
        raise InputError(str(error)) from None
    world = make_world(config.world.split())
    return config, world, held_out(config.seed, config.clips, size.video_length, size.size[1], world)


def sample_scenes(
    config: SceneOptions,
    sampler: Sampler,
    scenes: Sequence[Scene],
    what: str | None,
    boxes: Callable[[Scene], list] | None = None,
    with_image: bool = True,
) -> list[np.ndarray]:
    """A video (F H W 3, uint8) for each scene, with its own boxes or those that `boxes` gives.

    `what` stands at the progress bar; None shows none.
    """
    slots, videos = config.num_max_obj, []
    for first in tqdm(range(0, len(scenes), config.batch_size), what, unit="batch", disable=what is None):
        some = scenes[first : first + config.batch_size]
        videos += sampler(
            [scene.prompt for scene in some],
            [PIL.Image.fromarray(scene.frames[0]) if with_image else None for scene in some],
            [boxes(scene) if boxes else scene.given_boxes(slots) for scene in some],
            [[*scene.phrases, *[""] * (slots - len(scene.phrases))] for scene in some],
            [clip_generator(config.seed, scene.name) for scene in some],
        )
    return videos


@dataclass(frozen=True)
class Measures:
    """Of one video; each object in each frame after the first is a case.

    Attributes:
        overlaps: intersection over union of the mask that has the object's color with the true one, for each case.
        shapes: the true shape and whether it was kept, for each case in which the object is whole.
        colors: whether most of the true mask's pixels that have an object's color have the right one, for each case.
        frames: whether every object is there, its mask overlapping the true one by more than `THERE`, for each frame.
        clip, ground: PSNR; the ground is what no object covers, its number that of the worst frame.
    """

    overlaps: list[float]
    shapes: list[tuple[str, bool]]
    colors: list[bool]
    frames: list[bool]
    clip: float
    ground: float


def measure(video: np.ndarray, clip: SpriteClip, world: World) -> Measures:
    """`video` is F H W 3, uint8, as the clip's frames."""
    found = color_masks(video, [sprite.color for sprite in clip.sprites], world.palette)
    overlaps, shapes, colors, frames = [], [], [], []
    for f in range(1, len(video)):
        nearest, _ = nearest_colors(video[f], world.palette)
        present = [n for n in range(len(clip.sprites)) if clip.box_mask[f, n]]
        for n in present:
            sprite, true, mask = clip.sprites[n], clip.masks[f, n], found[f, n]
            overlaps.append(float((true & mask).sum() / (true | mask).sum()))
            seen = nearest[true & (nearest < len(world.colors))]
            colors.append(len(seen) > 0 and world.colors[np.bincount(seen).argmax()] == sprite.color)
            if clip.cover[f, n] >= WHOLE:
                shapes.append((sprite.shape, shape_of(mask, sprite, f, world.shapes) == sprite.shape))
        frames.append(min(overlaps[len(overlaps) - len(present) :], default=1.0) > THERE)
    ground = [
        psnr(frame[where], true[where])
        for frame, true, where in zip(video, clip.frames, ~grown(clip.masks.any(1)), strict=True)
    ]
    return Measures(overlaps, shapes, colors, frames, psnr(video, clip.frames), min(ground))


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


def grown(masks: np.ndarray) -> np.ndarray:
    """Masks (F H W) with a margin around them."""
    size = 2 * MARGIN + 1
    padded = np.pad(masks, ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)))
    return np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2)).any((-2, -1))


def summary(measures: Sequence[Measures]) -> dict[str, float]:
    """Means over all cases and frames, and over the videos for the PSNRs; the share of each shape, too."""
    cases = [case for of_video in measures for case in of_video.shapes]
    numbers = {"mask_iou": mean(overlap for m in measures for overlap in m.overlaps)}
    numbers["shape_kept"] = mean(kept for _, kept in cases)
    for shape in sorted({shape for shape, _ in cases}):
        numbers[f"{shape}_kept"] = mean(kept for other, kept in cases if other == shape)
    numbers["color_kept"] = mean(kept for m in measures for kept in m.colors)
    numbers["frames_with_all"] = mean(there for m in measures for there in m.frames)
    return numbers | {f"psnr_{name}": mean(getattr(m, name) for m in measures) for name in ("clip", "ground")}


def mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))
