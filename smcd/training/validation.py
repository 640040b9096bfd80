"""Validation: the loss on fixed clips at fixed noise and timesteps, and videos from fixed inputs.

On sprites it also measures the errors of the predicted clean latents, by noise level and region.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import DistributedType, broadcast_object_list
from einops import rearrange

from smcd.config import SamplingConfig, ValidationOptions
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
    """What a run is validated on: only the first frames of the clips, if the temporal layers are bypassed.

    Raises an InputError for data that are missing or broken.
    """

    def __init__(self, run: Run, options: ValidationOptions):
        data, batch_size, self._every = options.eval_data, options.val_batch_size, options.validation_steps
        frames = data.n_sample_frames if run.model.stage.temporal else 1
        self._data = replace(data, n_sample_frames=frames)
        mixture, order = build_data(self._data, run.seed, run.hashes)
        position = (run.accelerator.process_index, run.accelerator.num_processes)
        self._loader = ClipLoader(mixture, order, batch_size, 0, *position)
        self._first = ClipLoader(mixture, order, 1)  # one by one, for videos
        self._sampling, self._clips = options.validation_data, options.validation_clips
        # Under FSDP no process has the whole networks, and so none can make videos on its own.
        self._whole = run.accelerator.distributed_type != DistributedType.FSDP
        self._videos = options.validation_videos if self._whole else 0

    def __call__(self, run: Run) -> None:
        """Validate; every process calls it. Losses and videos go to the trackers, then to `validation/step-N/`."""
        losses: dict[str, float] = {}
        with _evaluating(run):
            if self._clips:
                losses = self._losses(run) | self._errors(run)
                run.accelerator.log(losses, step=run.step)
            if run.accelerator.is_main_process:
                self._write(run, losses)
        run.accelerator.wait_for_everyone()

    def is_due(self, run: Run) -> bool:
        return run.step % self._every == 0

    def is_missing(self, run: Run) -> bool:
        """Whether this step was not validated: the main process, which writes there, tells all."""
        return broadcast_object_list([not _folder(run).exists()])[0]

    @torch.no_grad()
    def _losses(self, run: Run) -> dict[str, float]:
        """Mean losses of the first clips at evenly spaced timesteps: with everything, without boxes, without image.

        Clips and noise are the same: the difference says how much a condition counts.
        """
        accelerator, clips, batch_size = run.accelerator, self._clips, self._loader.batch_size
        size, timesteps = batch_size * accelerator.num_processes, run.encoders.num_timesteps
        drops: dict[str, dict[str, bool]] = {"loss": {}}
        drops |= {f"loss_without_{name}": {name: True} for name, given in run.model.stage.conditions.items() if given}
        batches = self._loader.batches()
        total = torch.zeros(len(drops) + 1, device=accelerator.device)
        for number in range(-(-clips // size)):  # rounded up: as many in every process
            first = number * size + accelerator.process_index * batch_size
            indices = range(first, first + batch_size)
            example = run.encoders(next(batches), [(run.seed, _DRAW, index) for index in indices], Drops())
            spaced = [int((index + 0.5) / clips * timesteps) % timesteps for index in indices]
            example.timesteps = torch.tensor(spaced, device=accelerator.device)
            counted = torch.tensor([index < clips for index in indices], device=accelerator.device)
            examples = [replace(example, conditions=example.conditions.drop(**drop)) for drop in drops.values()]
            sums = [(run.networks(some) * counted).sum() for some in examples]
            total += torch.stack([*sums, counted.sum()])
        *losses, count = accelerator.reduce(total).tolist()
        return {f"validation/{name}": loss / count for name, loss in zip(drops, losses, strict=True)}

    def _errors(self, run: Run) -> dict[str, float]:
        """`diagnosis.errors` of the first clips, if they are sprites, by the main process alone."""
        data = self._data
        sprites = (data.name, data.datasets) == ("object_tracking", ["sprites"]) and data.width == data.height
        if not (sprites and self._whole and run.accelerator.is_main_process):
            return {}
        world, count = make_world(data.sprites_world.split()), min(_DIAGNOSED, self._clips)
        shape = (data.n_sample_frames, data.height, data.num_max_obj)
        with _as_trained(run):
            clips = diagnosis.clips_of(run.model.pipe, world, data.sprites_seed, count, *shape)
            found = diagnosis.flat(diagnosis.errors(run.model.pipe, clips))
        return {f"validation/error/{name}": error for name, error in found.items()}

    @torch.no_grad()
    def _write(self, run: Run, losses: dict[str, float]) -> None:
        batches, out = self._first.batches(), _folder(run)
        shutil.rmtree(out, ignore_errors=True)  # a run that was killed after it comes here again
        with new_folder(out) as folder:
            (folder / "losses.json").write_text(json.dumps(losses, indent=1), encoding="utf-8")
            numbers = range(self._videos)
            strips = [_video(run, next(batches), self._sampling, folder, number) for number in numbers]
            log_pictures(run.accelerator.trackers, "validation", strips, run.step)


@contextmanager
def _as_trained(run: Run) -> Iterator[None]:
    """Within, the pipeline has the run's precision and the layers of its stage: stage 1 has no temporal ones."""
    half, device = run.model.dtype != torch.float32, run.accelerator.device.type
    with (
        torch.autocast(device, run.model.dtype) if half else nullcontext(),
        nullcontext() if run.model.stage.temporal else without_temporal_layers(run.model.pipe.unet),
    ):
        yield


def _folder(run: Run) -> Path:
    return run.out / "validation" / f"step-{run.step}"


def _video(run: Run, batch: Batch, sampling: SamplingConfig, folder: Path, number: int) -> np.ndarray:
    """Write one clip's video; returns the clip above the video, both with boxes, side by side."""
    pipe, stage = run.model.pipe, run.model.stage
    truth = _frames(run, batch)[: sampling.video_length]
    phrases = batch.phrases[0]  # `num_max_obj`, those of no object empty: an absent object is a token too
    frames = zip(batch.boxes[0][: len(truth)], batch.box_mask[0], strict=False)
    boxes = [_boxes(of_frame, mask) for of_frame, mask in frames]
    given = stage.conditions
    with _as_trained(run):
        output: Any = pipe(
            batch.prompts[0],
            truth[0] if given["image"] else None,
            boxes if given["boxes"] else None,
            phrases if given["boxes"] else None,
            num_frames=len(truth),
            height=sampling.height or truth.shape[1],
            width=sampling.width or truth.shape[2],
            num_inference_steps=sampling.num_inference_steps,
            guidance_scale=sampling.guidance_scale,
            generator=torch.Generator().manual_seed(run.seed + number),
        )
    video = media.to_uint8(output.frames[0])
    media.write_video(folder / f"clip-{number}.gif", video)
    (folder / f"clip-{number}.txt").write_text(f"{batch.names[0]}\n{batch.prompts[0]}\n", encoding="utf-8")
    shown = (truth, video) if video.shape == truth.shape else (video,)
    strip = media.strip(*(media.draw_boxes(some, boxes, phrases) for some in shown))
    media.write_image(folder / f"clip-{number}.png", strip)
    return strip


def _frames(run: Run, batch: Batch) -> np.ndarray:
    """The frames of the clip, F H W 3, uint8; they are decoded if only latents are given."""
    if batch.frames is not None:
        return batch.frames[0].numpy()
    assert batch.latent_mean is not None
    pixels = decode_video(run.model.pipe.vae, batch.latent_mean.to(run.accelerator.device))[0]
    return media.to_uint8(rearrange(pixels / 2 + 0.5, "c f h w -> f h w c").cpu().numpy())


def _boxes(boxes: torch.Tensor, mask: torch.Tensor) -> list[Any]:
    """One frame's boxes as the pipeline takes them."""
    usable = mask.bool() & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return [box if use else None for box, use in zip(boxes.tolist(), usable.tolist(), strict=True)]


@contextmanager
def _evaluating(run: Run) -> Iterator[None]:
    """Dropout off, the running average in place of the weights, torch's random state kept."""
    trained = list(run.trained().values())
    run.networks.eval()
    if run.ema is not None:
        run.ema.store(trained)
        run.ema.copy_to(trained)
    with torch.random.fork_rng(devices=[]):
        yield
    if run.ema is not None:
        run.ema.restore(trained)
    run.networks.train()
