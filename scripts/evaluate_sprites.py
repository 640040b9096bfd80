#!/usr/bin/env python
"""What a sprites model can do on held-out scenes: tables, and pictures.

Does it follow boxes, keep the first frame, shapes, colors and ground, and bind phrases? Where do its predictions err?
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from sprites_scenes import (
    Scene,
    SceneOptions,
    along,
    crossing,
    held_out,
    measure,
    prepare,
    sample_scenes,
    shifted,
    spiral,
    summary,
    zigzag,
)

from smcd.config import configured
from smcd.config.options import option
from smcd.evaluation.metrics.similarity import FrameFidelity
from smcd.latents import decode_video, encode_frames
from smcd.models import without_temporal_layers
from smcd.runtime import media
from smcd.runtime.files import new_file
from smcd.sampler import Sampler, on_device
from smcd.sprites import diagnosis
from smcd.sprites.world import World
from smcd.tracking.color import track_colors
from smcd.tracking.grounding import ground, iou, success

logger = logging.getLogger(__name__)

SOME = 16  # scenes of the rows with unusual paths, and of the diagnosis
BOUND = 32  # scenes in which phrases are swapped
PICTURED = 8
HELD = 0.2  # overlap of a color with its box


@dataclass
class Options(SceneOptions):
    stage1_ckpt_path: str | None = option(
        None, "its stage-1 model, for how phrases bind; otherwise that row is left out"
    )


def main() -> None:
    with configured(Options, __doc__) as options:
        print(evaluate(options))


@dataclass(frozen=True)
class Row:
    """A line of the table: what was given, and how well the videos fit."""

    name: str
    clips: int
    ao: float | None
    sr50: float | None
    psnr: float | None = None
    ssim: float | None = None
    measures: dict[str, float] = field(default_factory=dict)  # of sprites_scenes.summary


def evaluate(config: Options) -> str:
    """Make the table and the pictures; returns the table.

    Raises:
        InputError: weights or options that do not fit.
    """
    asked = config
    config, world, scenes = prepare(asked)
    shape = (config.seed, config.validation_data.video_length, config.validation_data.size[1], world)
    with on_device() as state:
        sampler = Sampler(config, state.device)
        sampler.check_paths("an image", "boxes")
        stage1 = stage1_sampler(asked, state.device)
        rows, videos = main_rows(config, sampler, scenes, world)
        some = min(SOME, config.clips)
        others = [
            ("first frame contradicts the boxes a little", shifted(scenes[:some])),
            ("a spiral", along(spiral, some, *shape)),
            ("a zigzag", along(zigzag, some, *shape)),
            ("two objects that cross", crossing(some, *shape)),
        ]
        for name, given in others:
            made = sample_scenes(config, sampler, given, name)
            rows.append(score(name, given, made, world))
            write_picture(config, name.replace(" ", "_"), given, made)
        bound = phrases_bound(config, stage1, world) if stage1 is not None else {}
        errors = diagnose(config, sampler, world)
    write_picture(config, "model", scenes, videos)
    return write_tables(config, rows, bound, errors)


def of_weights(config: Options, weights: str) -> Options:
    """For another model than the one that the options describe."""
    return replace(config, trained_ckpt_path=weights, train_grounding=None, cross_vision=False, cat_init=False)


def stage1_sampler(config: Options, device: torch.device) -> Sampler | None:
    """Of still frames, as it was trained; in its own size and guidance where none is asked for."""
    if config.stage1_ckpt_path is None:
        return None
    still = replace(config.validation_data, video_length=1)
    sampler = Sampler(replace(of_weights(config, config.stage1_ckpt_path), validation_data=still), device)
    sampler.check_paths(None, "boxes")
    return sampler


def main_rows(
    config: Options, sampler: Sampler, scenes: list[Scene], world: World
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
        score("VAE's reconstruction of the truth", scenes, reconstruct(sampler, truth), world),
        score("the truth", scenes, truth, world),
    ]
    return rows, videos


@torch.no_grad()
def reconstruct(sampler: Sampler, videos: list[np.ndarray]) -> list[np.ndarray]:
    vae, made = sampler.pipe.vae, []
    for video in videos:
        mean, _ = encode_frames(vae, torch.from_numpy(video)[None])
        pixels = decode_video(vae, mean)[0].permute(1, 2, 3, 0) / 2 + 0.5
        made.append(media.to_uint8(pixels.cpu().numpy()))
    return made


def score(name: str, scenes: Sequence[Scene], videos: Sequence[np.ndarray], world: World) -> Row:
    """AO and SR50 over all objects and frames but the first; PSNR and SSIM of first frames; and `summary`."""
    overlaps = []
    for scene, video in zip(scenes, videos, strict=True):
        height, width = video.shape[1:3]
        pixels = np.array([width, height] * 2)
        found = track_colors(video, scene.colors, world.palette)
        overlaps.append(ground(found * pixels, scene.boxes * pixels, height, width).overlap.ravel())
    numbers = success(np.concatenate(overlaps))
    fidelity = FrameFidelity()
    first = [fidelity(video[0], scene.frames[0]) for scene, video in zip(scenes, videos, strict=True)]
    alike = {key: float(np.mean([numbers[key] for numbers in first])) for key in ("psnr", "ssim")}
    measures = summary([measure(video, scene.clip, world) for scene, video in zip(scenes, videos, strict=True)])
    return Row(name, len(scenes), numbers.get("ao"), numbers.get("sr50"), **alike, measures=measures)


def phrases_bound(config: SceneOptions, sampler: Sampler, world: World) -> dict[str, float]:
    """Of the stage-1 model: share of scenes whose boxes hold their phrases' colors, as given and swapped.

    It makes still frames, without the temporal layers, as it was trained.
    """
    side = sampler.config.validation_data.size[1]
    scenes = held_out(config.seed + 1, BOUND, 1, side, replace(world, objects=(2, 2)))
    swapped = [replace(s, phrases=s.phrases[::-1], colors=s.colors[::-1]) for s in scenes]
    shares = {}
    for name, some in (("phrases as given", scenes), ("phrases swapped", swapped)):
        with without_temporal_layers(sampler.pipe.unet):
            frames = sample_scenes(config, sampler, some, name, with_image=False)
        held = [holds(scene, video, world) for scene, video in zip(some, frames, strict=True)]
        shares[name] = float(np.mean(held))
        write_picture(config, name.replace(" ", "_"), some, frames)
    return shares


def holds(scene: Scene, video: np.ndarray, world: World) -> bool:
    """Whether, in frame 0, each color overlaps the box of its phrase, and more than the other box."""
    height, width = video.shape[1:3]
    pixels = np.array([width, height] * 2)
    found = track_colors(video[:1], scene.colors, world.palette)[0] * pixels
    boxes = scene.boxes[0] * pixels
    own, other = (np.nan_to_num(iou(found, some, height, width)) for some in (boxes, boxes[::-1]))
    return bool((own > np.maximum(other, HELD)).all())


def write_picture(config: SceneOptions, name: str, scenes: Sequence[Scene], videos: Sequence[np.ndarray]) -> None:
    """Some clips or still frames, the truth above and the result below, boxes drawn."""
    rows = []
    for scene, video in list(zip(scenes, videos, strict=True))[:PICTURED]:
        for frames in (scene.frames, video):
            large = frames.repeat(2, axis=1).repeat(2, axis=2)
            rows.append(media.draw_boxes(large, scene.given_boxes(len(scene.phrases)), scene.phrases))
    if len(rows[0]) == 1:  # still frames: side by side
        rows = [np.concatenate(rows[0::2]), np.concatenate(rows[1::2])]
    with new_file(Path(config.out, f"{name}.png")) as path:
        media.write_image(path, media.strip(*rows))


def diagnose(config: Options, sampler: Sampler, world: World) -> str:
    """The errors of predicted clean latents, as a table."""
    shape = (config.validation_data.video_length, config.validation_data.size[1], config.num_max_obj)
    clips = diagnosis.clips_of(sampler.pipe, world, config.seed, min(SOME, config.clips), *shape)
    changes = diagnosis.CHANGES.items()
    return diagnosis.table({name: diagnosis.errors(sampler.pipe, clips, change) for name, change in changes})


def write_tables(config: Options, rows: list[Row], bound: dict[str, float], errors: str) -> str:
    text = f"{table(rows, bound)}\n\nErrors of the predicted clean latents:\n\n{errors}"
    with new_file(Path(config.out, "table.md")) as path:
        path.write_text(text + "\n")
    with new_file(Path(config.out, "table.json")) as path:
        path.write_text(json.dumps({"rows": [asdict(row) for row in rows], "binding": bound}, indent=1))
    logger.info(f"wrote {config.out}")
    return text


COLUMNS: dict[str, tuple[Callable[[Row], float | None], int]] = {  # title: the number, and its digits
    "AO": (lambda row: row.ao, 3),
    "SR50": (lambda row: row.sr50, 3),
    "PSNR of frame 0": (lambda row: row.psnr, 1),
    "SSIM of frame 0": (lambda row: row.ssim, 3),
    "PSNR of the clip": (lambda row: row.measures["psnr_clip"], 1),
    "PSNR of the ground, worst frame": (lambda row: row.measures["psnr_ground"], 1),
    "mask IoU": (lambda row: row.measures["mask_iou"], 3),
    "shape kept": (lambda row: row.measures["shape_kept"], 3),
    "worst shape": (
        lambda row: min(row.measures.get(f"{shape}_kept", 1.0) for shape in ("circle", "square", "star", "triangle")),
        3,
    ),
    "color kept": (lambda row: row.measures["color_kept"], 3),
    "frames with all objects": (lambda row: row.measures["frames_with_all"], 3),
}


def table(rows: Sequence[Row], bound: Mapping[str, float]) -> str:
    """The numbers as a Markdown table."""
    lines = [f"| | clips | {' | '.join(COLUMNS)} |", f"|---|---|{'---|' * len(COLUMNS)}"]
    for row in rows:
        numbers = ((value(row), digits) for value, digits in COLUMNS.values())
        shown = ("" if number is None else f"{number:.{digits}f}" for number, digits in numbers)
        lines.append(f"| {row.name} | {row.clips} | {' | '.join(shown)} |")
    lines += [
        f"\nBoxes that hold the color of their phrase, {name}: {share:.0%} of {BOUND} scenes"
        for name, share in bound.items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
