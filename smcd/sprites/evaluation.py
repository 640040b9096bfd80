"""Does a sprites model follow boxes, keep the first frame, and bind phrases? The logic of `evaluate_sprites.py`."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import PIL.Image
import torch
from tqdm import tqdm

from smcd.config import SpritesConfig, SpritesEvaluationConfig, check_choices
from smcd.evaluation.metrics.models import MissingModel
from smcd.evaluation.metrics.similarity import FrameFidelity
from smcd.latents import decode_video, encode_frames
from smcd.models import without_temporal_layers
from smcd.runtime import media
from smcd.runtime.errors import InputError
from smcd.runtime.files import new_file
from smcd.sampler import Sampler, check_model_config, clip_generator, on_device, with_defaults
from smcd.sprites.layouts import make_world
from smcd.sprites.scenes import Scene, along, crossing, held_out, shifted, spiral, zigzag
from smcd.sprites.world import World
from smcd.tracking.color import track_colors
from smcd.tracking.grounding import ground, iou, success

logger = logging.getLogger(__name__)
Config = TypeVar("Config", bound=SpritesConfig)

_SOME = 16  # scenes of the rows with unusual paths
_BOUND = 32  # scenes in which phrases are swapped
_PICTURED = 8
_HELD = 0.2  # overlap of a color with its box
_ABLATIONS = {"zero conv alone": "zero_conv_ckpt_path", "image gate alone": "image_gate_ckpt_path"}


@dataclass(frozen=True)
class Row:
    """A line of the table: what was given, and how well the videos fit."""

    name: str
    clips: int
    ao: float | None
    sr50: float | None
    psnr: float | None = None
    ssim: float | None = None


def evaluate_sprites(config: SpritesEvaluationConfig) -> str:
    """Make the table and the pictures; returns the table.

    Raises:
        InputError: weights or options that do not fit.
    """
    asked = config
    config, world, scenes = prepare(asked)
    shape = (config.seed, config.validation_data.video_length, config.validation_data.size[1], world)
    with on_device() as state:
        sampler = Sampler(config, state.device)
        ablated = {  # in the model's own size and guidance
            name: Sampler(_of_weights(config, path), state.device)
            for name, option in _ABLATIONS.items()
            if (path := getattr(config, option)) is not None
        }
        for each in (sampler, *ablated.values()):
            each.check_paths("an image", "boxes")
        stage1 = _stage1_sampler(asked, state.device)
        rows, videos = _main_rows(config, sampler, scenes, world)
        some = min(_SOME, config.clips)
        others = [
            ("first frame contradicts the boxes a little", sampler, shifted(scenes[:some])),
            ("a spiral", sampler, along(spiral, some, *shape)),
            ("a zigzag", sampler, along(zigzag, some, *shape)),
            ("two objects that cross", sampler, crossing(some, *shape)),
            *((name, other, scenes) for name, other in ablated.items()),
        ]
        for name, model, given in others:
            made = sample_scenes(config, model, given, name)
            rows.append(score(name, given, made, world))
            _write_picture(config, name.replace(" ", "_"), given, made)
        binding = _binding(config, stage1, world) if stage1 is not None else {}
    _write_picture(config, "model", scenes, videos)
    return _write_table(config, rows, binding)


def prepare(config: Config) -> tuple[Config, World, list[Scene]]:
    """The config with the model's size and guidance, the world, and the held-out scenes.

    Raises:
        InputError: options that do not fit, weights that are not there, or no torchmetrics: before anything is sampled.
    """
    check_choices(config)
    check_model_config(config)
    config = with_defaults(config)
    size = config.validation_data
    if size.width != size.height or config.clips < 1 or config.batch_size < 1:
        raise InputError("sprites are square: --width and --height must be equal, --clips and --batch_size at least 1")
    if size.video_length < 2:
        raise InputError("video_length is 1; boxes are followed after the first frame: give at least 2")
    try:
        FrameFidelity()
    except MissingModel as error:
        raise InputError(str(error)) from None
    world = make_world(config.world.split())
    return config, world, held_out(config.seed, config.clips, size.video_length, size.size[1], world)


def _of_weights(config: SpritesEvaluationConfig, weights: str) -> SpritesEvaluationConfig:
    """For another model than the one that the options describe."""
    return replace(config, trained_ckpt_path=weights, train_grounding=None, cross_vision=False, cat_init=False)


def _stage1_sampler(config: SpritesEvaluationConfig, device: torch.device) -> Sampler | None:
    """Of still frames, as it was trained; in its own size and guidance where none is asked for."""
    if config.stage1_ckpt_path is None:
        return None
    still = replace(config.validation_data, video_length=1)
    sampler = Sampler(replace(_of_weights(config, config.stage1_ckpt_path), validation_data=still), device)
    sampler.check_paths(None, "boxes")
    return sampler


def _main_rows(
    config: SpritesEvaluationConfig, sampler: Sampler, scenes: list[Scene], world: World
) -> tuple[list[Row], list[np.ndarray]]:
    """The rows that the targets are about, and the model's videos."""
    slots = config.num_max_obj
    videos = sample_scenes(config, sampler, scenes, "the model")
    free = sample_scenes(config, sampler, scenes, "boxes dropped", lambda scene: scene.without_boxes(slots))
    blind = sample_scenes(config, sampler, scenes, "image dropped", with_image=False)
    truth = [scene.frames for scene in scenes]
    still = [np.repeat(frames[:1], len(frames), axis=0) for frames in truth]
    rows = [
        score("the model", scenes, videos, world),
        score("boxes dropped", scenes, free, world),
        score("image dropped", scenes, blind, world),
        score("static first frame", scenes, still, world),
        score("VAE's reconstruction of the truth", scenes, _reconstruct(sampler, truth), world),
        score("the truth", scenes, truth, world),
    ]
    return rows, videos


def sample_scenes(
    config: SpritesConfig,
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


@torch.no_grad()
def _reconstruct(sampler: Sampler, videos: list[np.ndarray]) -> list[np.ndarray]:
    vae, made = sampler.pipe.vae, []
    for video in videos:
        mean, _ = encode_frames(vae, torch.from_numpy(video)[None])
        pixels = decode_video(vae, mean)[0].permute(1, 2, 3, 0) / 2 + 0.5
        made.append(media.to_uint8(pixels.cpu().numpy()))
    return made


def score(name: str, scenes: Sequence[Scene], videos: Sequence[np.ndarray], world: World) -> Row:
    """AO and SR50 over all objects and frames but the first; PSNR and SSIM of first frames."""
    overlaps = []
    for scene, video in zip(scenes, videos, strict=True):
        height, width = video.shape[1:3]
        pixels = np.array([width, height] * 2)
        found = track_colors(video, scene.colors, world.colors)
        overlaps.append(ground(found * pixels, scene.boxes * pixels, height, width).overlap.ravel())
    numbers = success(np.concatenate(overlaps))
    fidelity = FrameFidelity()
    first = [fidelity(video[0], scene.frames[0]) for scene, video in zip(scenes, videos, strict=True)]
    alike = {key: float(np.mean([numbers[key] for numbers in first])) for key in ("psnr", "ssim")}
    return Row(name, len(scenes), numbers.get("ao"), numbers.get("sr50"), **alike)


def _binding(config: SpritesConfig, sampler: Sampler, world: World) -> dict[str, float]:
    """Of the stage-1 model: share of scenes whose boxes hold their phrases' colors, as given and swapped.

    It makes still frames, without the temporal layers, as it was trained.
    """
    side = sampler.config.validation_data.size[1]
    scenes = held_out(config.seed + 1, _BOUND, 1, side, replace(world, objects=(2, 2)))
    swapped = [replace(s, phrases=s.phrases[::-1], colors=s.colors[::-1]) for s in scenes]
    shares = {}
    for name, some in (("phrases as given", scenes), ("phrases swapped", swapped)):
        with without_temporal_layers(sampler.pipe.unet):
            frames = sample_scenes(config, sampler, some, name, with_image=False)
        held = [_holds(scene, video, world) for scene, video in zip(some, frames, strict=True)]
        shares[name] = float(np.mean(held))
        _write_picture(config, name.replace(" ", "_"), some, frames)
    return shares


def _holds(scene: Scene, video: np.ndarray, world: World) -> bool:
    """Whether, in frame 0, each color overlaps the box of its phrase, and more than the other box."""
    height, width = video.shape[1:3]
    pixels = np.array([width, height] * 2)
    found = track_colors(video[:1], scene.colors, world.colors)[0] * pixels
    boxes = scene.boxes[0] * pixels
    own, other = (np.nan_to_num(iou(found, some, height, width)) for some in (boxes, boxes[::-1]))
    return bool((own > np.maximum(other, _HELD)).all())


def _write_picture(config: SpritesConfig, name: str, scenes: Sequence[Scene], videos: Sequence[np.ndarray]) -> None:
    """Some clips or still frames, the truth above and the result below, boxes drawn."""
    rows = []
    for scene, video in list(zip(scenes, videos, strict=True))[:_PICTURED]:
        for frames in (scene.frames, video):
            large = frames.repeat(2, axis=1).repeat(2, axis=2)
            rows.append(media.draw_boxes(large, scene.given_boxes(len(scene.phrases)), scene.phrases))
    if len(rows[0]) == 1:  # still frames: side by side
        rows = [np.concatenate(rows[0::2]), np.concatenate(rows[1::2])]
    with new_file(Path(config.out, f"{name}.png")) as path:
        media.write_image(path, media.strip(*rows))


def _write_table(config: SpritesEvaluationConfig, rows: list[Row], binding: dict[str, float]) -> str:
    text = table(rows, binding)
    with new_file(Path(config.out, "table.md")) as path:
        path.write_text(text + "\n")
    with new_file(Path(config.out, "table.json")) as path:
        path.write_text(json.dumps({"rows": [vars(row) for row in rows], "binding": binding}, indent=1))
    logger.info(f"wrote {config.out}")
    return text


def table(rows: Sequence[Row], binding: dict[str, float]) -> str:
    """The numbers as a Markdown table."""
    lines = ["| | clips | AO | SR50 | PSNR of frame 0 | SSIM of frame 0 |", "|---|---|---|---|---|---|"]
    for row in rows:
        numbers = (
            _number(value, digits) for value, digits in ((row.ao, 3), (row.sr50, 3), (row.psnr, 1), (row.ssim, 3))
        )
        lines.append(f"| {row.name} | {row.clips} | {' | '.join(numbers)} |")
    lines += [
        f"\nBoxes that hold the color of their phrase, {name}: {share:.0%} of {_BOUND} scenes"
        for name, share in binding.items()
    ]
    return "\n".join(lines)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
