"""Validation: the loss of fixed clips at fixed noise and timesteps, and videos from fixed inputs.

On sprites also the errors of the predicted clean latents, by noise level and region (`smcd/sprites/diagnosis.py`).
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import DistributedType, broadcast_object_list
from einops import rearrange

from smcd.data.build import build_data
from smcd.data.clips import Batch
from smcd.data.mixing import ClipLoader
from smcd.latents import decode_video
from smcd.models import without_temporal_layers
from smcd.runtime import media
from smcd.runtime.files import new_folder
from smcd.sprites import diagnosis
from smcd.sprites.layouts import make_world
from smcd.training.run import Run
from smcd.training.stages import Drops
from smcd.training.trackers import log_pictures

_DIAGNOSED = 16  # clips of sprites
_DRAW = 2**31  # in the place of the step: no step of training has the same draws


class Validation:
    """What a run is validated on.

    Args:
        run: before it trains.

    Raises:
        InputError: data that are missing or broken.
    """

    def __init__(self, run: Run):
        config = run.config
        frames = config.eval_data.n_sample_frames if run.stage.temporal else 1
        data = replace(config.eval_data, n_sample_frames=frames)
        mixture, order = build_data(data, config.seed, run.hashes)
        position = (run.accelerator.process_index, run.accelerator.num_processes)
        self._loader = ClipLoader(mixture, order, config.val_batch_size, 0, *position)
        self._first = ClipLoader(mixture, order, 1)  # one by one, for videos
        self._timesteps = run.pipe.scheduler.config.num_train_timesteps

    def __call__(self, run: Run) -> None:
        """Validate; every process calls it. Losses and videos go to the trackers, then to `validation/step-N/`."""
        losses: dict[str, float] = {}
        with _evaluating(run):
            if run.config.validation_clips:
                losses = self._losses(run) | _errors_of_sprites(run)
                run.accelerator.log(losses, step=run.step)
            if run.accelerator.is_main_process:
                self._write(run, losses)
        run.accelerator.wait_for_everyone()

    def is_missing(self, run: Run) -> bool:
        """Whether a validation was due where this run goes on, and the run was stopped before it was done."""
        due = run.step > 0 and run.step % run.config.validation_steps == 0
        missing = [due and not _folder(run).exists()]
        return broadcast_object_list(missing)[0]  # of the main process, whose disk it is

    @torch.no_grad()
    def _losses(self, run: Run) -> dict[str, float]:
        """Means over the first `validation_clips` clips, timesteps evenly spaced: with everything; and of the same
        clips in the same noise without boxes, without image: how much higher is what the network makes of them."""
        config, accelerator = run.config, run.accelerator
        clips, size = config.validation_clips, config.val_batch_size * accelerator.num_processes
        drops: dict[str, dict[str, bool]] = {"loss": {}}
        drops |= {f"loss_without_{name}": {name: True} for name, given in run.stage.conditions.items() if given}
        batches = self._loader.batches()
        total = torch.zeros(len(drops) + 1, device=accelerator.device)
        for number in range(-(-clips // size)):  # rounded up: as many in every process
            first = number * size + accelerator.process_index * config.val_batch_size
            indices = range(first, first + config.val_batch_size)
            example = run.encoders(next(batches), [(config.seed, _DRAW, index) for index in indices], Drops())
            spaced = [int((index + 0.5) / clips * self._timesteps) % self._timesteps for index in indices]
            example.timesteps = torch.tensor(spaced, device=accelerator.device)
            counted = torch.tensor([index < clips for index in indices], device=accelerator.device)
            examples = [replace(example, conditions=example.conditions.drop(**drop)) for drop in drops.values()]
            sums = [(run.networks(some) * counted).sum() for some in examples]
            total += torch.stack([*sums, counted.sum()])
        *losses, count = accelerator.reduce(total).tolist()
        return {f"validation/{name}": loss / count for name, loss in zip(drops, losses, strict=True)}

    @torch.no_grad()
    def _write(self, run: Run, losses: dict[str, float]) -> None:
        batches = self._first.batches()
        strips = []
        out = _folder(run)
        shutil.rmtree(out, ignore_errors=True)  # of a run that was killed after it, and now comes here again
        with new_folder(out) as folder:
            (folder / "losses.json").write_text(json.dumps(losses, indent=1), encoding="utf-8")
            for number in range(0 if _is_sharded(run) else run.config.validation_videos):
                strips.append(_video(run, next(batches), folder, number))
            if strips:
                log_pictures(run.accelerator.trackers, "validation", strips, run.step)


def _errors_of_sprites(run: Run) -> dict[str, float]:
    """`diagnosis.errors` of the first clips, in the main process; nothing for other data."""
    data = run.config.eval_data
    if data.name != "object_tracking" or data.datasets != ["sprites"] or data.width != data.height:
        return {}
    if _is_sharded(run) or not run.accelerator.is_main_process:
        return {}
    world, frames = make_world(data.sprites_world.split()), data.n_sample_frames if run.stage.temporal else 1
    count = min(_DIAGNOSED, run.config.validation_clips)
    with run.autocast(), _time_of(run):
        clips = diagnosis.clips_of(run.pipe, world, data.sprites_seed, count, frames, data.height, data.num_max_obj)
        found = diagnosis.flat(diagnosis.errors(run.pipe, clips))
    return {f"validation/error/{name}": error for name, error in found.items()}


def _time_of(run: Run) -> AbstractContextManager:
    """Within, the UNet has the temporal layers that the stage trains with: none in stage 1."""
    return nullcontext() if run.stage.temporal else without_temporal_layers(run.pipe.unet)


def _folder(run: Run) -> Path:
    return run.out / "validation" / f"step-{run.step}"


def _is_sharded(run: Run) -> bool:
    """Whether no process has the whole networks: then no process can make videos on its own."""
    return run.accelerator.distributed_type == DistributedType.FSDP


def _video(run: Run, batch: Batch, folder: Path, number: int) -> np.ndarray:
    """Write one clip's video; returns the clip above the video, both with boxes, side by side."""
    sampling = run.config.validation_data
    truth = _frames(run, batch)[: sampling.video_length]
    phrases = batch.phrases[0]  # `num_max_obj`, those of no object empty: an absent object is a token too
    boxes = [_boxes(of_frame, mask) for of_frame, mask in zip(batch.boxes[0], batch.box_mask[0], strict=True)]
    boxes = boxes[: len(truth)]
    given = run.stage.conditions
    with _time_of(run), run.autocast():
        output: Any = run.pipe(
            batch.prompts[0],
            truth[0] if given["image"] else None,
            boxes if given["boxes"] else None,
            phrases if given["boxes"] else None,
            num_frames=len(truth),
            height=sampling.height or truth.shape[1],
            width=sampling.width or truth.shape[2],
            num_inference_steps=sampling.num_inference_steps,
            guidance_scale=sampling.guidance_scale,
            generator=torch.Generator().manual_seed(run.config.seed + number),
        )
    video = media.to_uint8(output.frames[0])
    media.write_video(folder / f"clip-{number}.gif", video)
    (folder / f"clip-{number}.txt").write_text(f"{batch.names[0]}\n{batch.prompts[0]}\n", encoding="utf-8")
    if video.shape == truth.shape:
        truth, video = (media.draw_boxes(some, boxes, phrases) for some in (truth, video))
        strip = media.strip(truth, video)
    else:
        strip = media.strip(media.draw_boxes(video, boxes, phrases))
    media.write_image(folder / f"clip-{number}.png", strip)
    return strip


def _frames(run: Run, batch: Batch) -> np.ndarray:
    """The clip's own frames F H W 3, uint8; decoded where only latents are given."""
    if batch.frames is not None:
        return batch.frames[0].numpy()
    assert batch.latent_mean is not None
    pixels = decode_video(run.pipe.vae, batch.latent_mean.to(run.accelerator.device))[0]
    return media.to_uint8(rearrange(pixels / 2 + 0.5, "c f h w -> f h w c").cpu().numpy())


def _boxes(boxes: torch.Tensor, mask: torch.Tensor) -> list[Any]:
    """One frame's boxes as the pipeline takes them."""
    usable = mask.bool() & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return [box if use else None for box, use in zip(boxes.tolist(), usable.tolist(), strict=True)]


@contextmanager
def _evaluating(run: Run) -> Iterator[None]:
    """Dropout off, the running average in place of the weights, torch's random state kept."""
    trained = list(run.bare.trained().values())
    random_state = torch.get_rng_state()
    run.networks.eval()
    if run.ema is not None:
        run.ema.store(trained)
        run.ema.copy_to(trained)
    try:
        yield
    finally:
        if run.ema is not None:
            run.ema.restore(trained)
        run.networks.train()
        torch.set_rng_state(random_state)
