"""Sprites: an endless, deterministic world of moving shapes, with exact masks and boxes.

Clip number i of seed s is always the same clip. Colors and shapes make the phrases ("red star"), the paths make the
motion ("moving left"), and together they make the caption.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from smcd.sprites.shapes import SHAPES, coverage

COLORS = {
    "red": (214, 40, 40),
    "green": (42, 157, 72),
    "blue": (38, 84, 214),
    "yellow": (246, 205, 46),
    "orange": (240, 128, 24),
    "purple": (134, 58, 182),
    "cyan": (40, 196, 208),
    "pink": (240, 110, 170),
    "white": (244, 244, 244),
    "black": (24, 24, 28),
}
BACKGROUNDS = ("plain", "gradient", "waves", "checks", "stripes")
MOTIONS = ("line", "arc", "bounce", "pause", "visit", "still")
_MIN_VISIBLE = 12  # pixels: less of an object than this counts as absent


@dataclass(frozen=True)
class World:
    """How rich the world is.

    Attributes:
        shapes, colors, backgrounds, motions: what may occur, names of `SHAPES`, `COLORS`, `BACKGROUNDS`, `MOTIONS`.
        objects: fewest and most objects in a clip; no two have the same color.
        radius: smallest and largest, in parts of the frame's side.
        speed: largest way of an object through a clip, in parts of the side.
        turning, growing: largest rotation (turns) and change of size (factor) through a clip.
        drift: largest way of the background, in parts of the side.
    """

    shapes: tuple[str, ...] = tuple(SHAPES)
    colors: tuple[str, ...] = tuple(COLORS)
    backgrounds: tuple[str, ...] = BACKGROUNDS
    motions: tuple[str, ...] = MOTIONS
    objects: tuple[int, int] = (1, 4)
    radius: tuple[float, float] = (0.09, 0.2)
    speed: float = 0.6
    turning: float = 0.25
    growing: float = 1.4
    drift: float = 0.08

    def __post_init__(self) -> None:
        for name, known in (("shapes", SHAPES), ("colors", COLORS), ("backgrounds", BACKGROUNDS), ("motions", MOTIONS)):
            chosen = list(getattr(self, name))
            if unknown := set(chosen) - set(known):
                raise ValueError(f"{name}: {', '.join(sorted(unknown))} unknown; choose from {', '.join(known)}")
            if not chosen or len(set(chosen)) < len(chosen):
                raise ValueError(f"{name}: {chosen} is empty or names something twice")
        if not 0 < self.objects[0] <= self.objects[1] <= len(self.colors):
            raise ValueError(f"objects: {self.objects} is no range from 1 to {len(self.colors)}, one for each color")
        if not 0 < self.radius[0] <= self.radius[1] <= 0.4:
            raise ValueError(f"radius: {self.radius} is no range within 0 to 0.4")
        for name, low in (("speed", 0), ("turning", 0), ("growing", 1), ("drift", 0)):
            if not low <= getattr(self, name) <= 10:
                raise ValueError(f"{name}: {getattr(self, name)} is not from {low} to 10")

    @property
    def palette(self) -> dict[str, tuple[int, int, int]]:
        return {name: COLORS[name] for name in self.colors}

    def description(self) -> dict[str, Any]:
        """By field, as in JSON."""
        return {
            name: list(value) if isinstance(value, tuple | list) else float(value)
            for name, value in dataclasses.asdict(self).items()
        }


_BUILT_IN = World(
    shapes=("circle", "square", "triangle", "star"),
    colors=("red", "green", "blue", "yellow", "purple", "cyan", "orange", "white"),
    backgrounds=("plain", "gradient"),
    motions=("line", "arc", "bounce"),
    objects=(1, 2),
    radius=(0.14, 0.2),
    speed=0.45,
    turning=0.1,
    growing=1.2,
    drift=0,
)
WORLDS = {  # an evaluation's manifest knows them by their names: never change an entry, give a new world a new name
    "built-in": _BUILT_IN,  # the built-in model's; it is trained on "varied", which holds all of this one
    "varied": replace(_BUILT_IN, backgrounds=BACKGROUNDS, objects=(1, 3), radius=(0.12, 0.2)),
}


@dataclass(frozen=True)
class Sprite:
    """One object. Center and radius are in parts of the frame's side, angle in radians; each an array of F."""

    shape: str
    color: str
    motion: str
    center: np.ndarray = field(repr=False)  # F 2, x y
    radius: np.ndarray = field(repr=False)
    angle: np.ndarray = field(repr=False)

    @property
    def phrase(self) -> str:
        return f"{self.color} {self.shape}"

    @property
    def article(self) -> str:
        return "an" if self.color[0] in "aeiou" else "a"


@dataclass(frozen=True)
class SpriteClip:
    """A rendered clip.

    Attributes:
        frames: F H W 3, uint8.
        masks: F N H W, bool: the visible part of each object.
        cover: F N, visible part of the whole object (in frame or not), 0..1.
        boxes: F N 4, float32, xyxy in 0..1, the extent of the mask; zeros where absent.
        box_mask: F N, 1 where at least `_MIN_VISIBLE` pixels are visible.
        sprites: the N objects, the last one in front.
        caption: all of it in words.
    """

    frames: np.ndarray
    masks: np.ndarray
    cover: np.ndarray
    boxes: np.ndarray
    box_mask: np.ndarray
    sprites: list[Sprite]
    caption: str


def make_clip(
    seed: int,
    index: int,
    num_frames: int = 8,
    size: int = 256,
    world: World | None = None,
    paths: Sequence[np.ndarray] = (),
) -> SpriteClip:
    """Clip number `index` of the world with this seed: `num_frames` frames of size x size pixels.

    `paths` are centers (F 2, x y in parts of the side) for the first objects, in place of those of the world.
    """
    world = world or World()
    rng = np.random.default_rng((seed, index))
    count = int(rng.integers(world.objects[0], world.objects[1] + 1))
    colors = rng.permutation(world.colors)[:count]
    sprites = [_make_sprite(str(rng.choice(world.shapes)), str(color), num_frames, world, rng) for color in colors]
    for n, (sprite, path) in enumerate(zip(sprites, paths, strict=False)):
        sprites[n] = replace(sprite, center=path, motion=_describe("line", path))
    frames = _background(num_frames, size, world, rng)
    masks, cover = _paint(frames, sprites)
    boxes, box_mask = boxes_of(masks)
    caption = " and ".join(f"{sprite.article} {sprite.phrase} that is {sprite.motion}" for sprite in sprites)
    pixels = np.rint(np.clip(frames, 0, 255)).astype(np.uint8)
    return SpriteClip(pixels, masks, cover, boxes, box_mask, sprites, f"{caption[0].upper()}{caption[1:]}.")


def boxes_of(masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Extents of masks (... H W, bool): boxes (... 4), xyxy in 0..1, and whether there is enough to see (...)."""
    height, width = masks.shape[-2:]
    rows, columns = np.asarray(masks.any(-1)), np.asarray(masks.any(-2))
    x1, y1 = columns.argmax(-1), rows.argmax(-1)
    x2, y2 = width - columns[..., ::-1].argmax(-1), height - rows[..., ::-1].argmax(-1)
    present = np.greater_equal(masks.sum((-2, -1)), _MIN_VISIBLE).astype(np.float32)
    boxes = np.stack([x1 / width, y1 / height, x2 / width, y2 / height], axis=-1)
    return (boxes * present[..., None]).astype(np.float32), present


def _make_sprite(shape: str, color: str, frames: int, world: World, rng: np.random.Generator) -> Sprite:
    time = np.linspace(0, 1, frames)
    growth = world.growing ** rng.uniform(-1, 1)
    radius = rng.uniform(*world.radius) * growth ** (time - 0.5)
    angle = 2 * np.pi * (rng.uniform(-0.1, 0.1) + world.turning * rng.uniform(-1, 1) * time)
    kind = str(rng.choice(world.motions))
    center = _path(kind, time, float(radius.max()), world.speed, rng)
    return Sprite(shape, color, _describe(kind, center), center, radius, angle)


def _path(kind: str, time: np.ndarray, radius: float, speed: float, rng: np.random.Generator) -> np.ndarray:
    """Centers F 2. Only a "visit" leaves the frame; it comes back."""
    low, high = radius, 1 - radius
    way = speed * rng.uniform(0.5, 1)
    if kind == "still":
        return np.repeat(rng.uniform(low, high, (1, 2)), len(time), axis=0)
    if kind == "bounce":
        heading = rng.uniform(0, 2 * np.pi)
        free = rng.uniform(low, high, 2) + 1.5 * way * time[:, None] * [np.cos(heading), np.sin(heading)]
        return low + np.abs((free - low + (high - low)) % (2 * (high - low)) - (high - low))  # mirrored at the edges
    if kind == "arc":
        reach = rng.uniform(0.12, max(0.13, min(0.28, (high - low) / 2)))
        angle = rng.uniform(0, 2 * np.pi) + rng.choice([-1, 1]) * way / reach * time
        middle = rng.uniform(low + reach, max(low + reach + 1e-6, high - reach), 2)
        return np.clip(middle + reach * np.stack([np.cos(angle), np.sin(angle)], axis=-1), low, high)
    if kind == "visit":
        inside, side = rng.uniform(low, high, 2), rng.choice([-1, 1])
        outside = inside.copy()
        outside[rng.integers(2)] = 0.5 + side * (0.5 + 1.2 * radius)
        return inside + (outside - inside) * np.sin(np.pi * time[:, None])
    start, heading = rng.uniform(low, high, 2), rng.uniform(0, 2 * np.pi)
    end = start + way * np.array([np.cos(heading), np.sin(heading)])
    end = np.where((end < low) | (end > high), 2 * start - end, end)  # the other way where it would leave
    progress = np.clip(2 * time - 0.5, 0, 1) if kind == "pause" else time
    return np.clip(start + (end - start) * progress[:, None], low, high)


def _describe(kind: str, center: np.ndarray) -> str:
    if kind == "still":
        return "standing still"
    if kind in ("bounce", "arc"):
        return {"bounce": "bouncing", "arc": "circling"}[kind]
    if kind == "visit":
        return "leaving and coming back"
    x, y = center[-1] - center[0]
    way = ("right" if x > 0 else "left") if abs(x) >= abs(y) else ("down" if y > 0 else "up")
    return f"moving {way}" if kind == "line" else f"waiting and moving {way}"


def _paint(frames: np.ndarray, sprites: list[Sprite]) -> tuple[np.ndarray, np.ndarray]:
    """Draw the sprites into float frames, back to front; visible masks F N H W and visible parts F N."""
    count, size = len(frames), frames.shape[1]
    masks = np.zeros((count, len(sprites), size, size), dtype=bool)
    whole = np.zeros((count, len(sprites)))
    for f in range(count):
        for n, sprite in enumerate(sprites):
            center, radius = sprite.center[f] * size, sprite.radius[f] * size
            alpha, rows, columns, area = coverage(sprite.shape, center, radius, sprite.angle[f], size)
            whole[f, n] = area
            light = 1 + 0.16 * np.linspace(1, -1, size)[rows, None, None]  # from above
            color = np.clip(np.array(COLORS[sprite.color]) * light, 0, 255)
            patch = frames[f, rows, columns]
            patch += alpha[..., None] * (color - patch)
            masks[f, :n, rows, columns] &= alpha < 0.5
            masks[f, n, rows, columns] = alpha >= 0.5
    return masks, np.clip(masks.sum((-2, -1)) / np.maximum(whole, 1), 0, 1)


def _background(frames: int, size: int, world: World, rng: np.random.Generator) -> np.ndarray:
    """Muted textures that drift a little: F H W 3, float."""
    kind = str(rng.choice(world.backgrounds))
    base = rng.uniform(80, 180) + rng.uniform(-28, 28, 3)  # muted, so that the sprites stand out
    other = base + rng.uniform(-35, 35) + rng.uniform(-15, 15, 3)
    heading = rng.uniform(0, 2 * np.pi)
    drift = world.drift * rng.uniform(0, 1) * np.array([np.cos(heading), np.sin(heading)])
    waves = rng.uniform(1, 4, (4, 2)) * rng.choice([-1, 1], (4, 2))
    phases = rng.uniform(0, 2 * np.pi, 4)
    pitch, slope = rng.uniform(0.08, 0.2), rng.uniform(0, np.pi)
    grid = (np.arange(size) + 0.5) / size
    painted = np.empty((frames, size, size, 3))
    for f, time in enumerate(np.linspace(0, 1, frames)):
        x, y = grid[None] + drift[0] * time, grid[:, None] + drift[1] * time
        along = x * np.cos(slope) + y * np.sin(slope)
        if kind == "plain":
            mix = np.zeros((size, size))
        elif kind == "gradient":
            mix = 0.5 + 0.5 * np.sin(np.pi * along)
        elif kind == "waves":
            mix = (
                0.5 + sum(np.sin(2 * np.pi * (a * x + b * y) + p) for (a, b), p in zip(waves, phases, strict=True)) / 8
            )
        elif kind == "checks":
            mix = (np.floor(x / pitch) + np.floor(y / pitch)) % 2 * 0.6
        else:
            mix = np.clip(0.5 + 3 * np.sin(2 * np.pi * along / pitch), 0, 1) * 0.6
        painted[f] = base + mix[..., None] * (other - base)
    return painted
