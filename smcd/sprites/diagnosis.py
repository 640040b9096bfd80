"""Where a sprites model's predictions are wrong: the error of the predicted clean latents, by noise level and region.

It takes seconds where sampling takes minutes: one prediction for each noise level, from the true clip under noise.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from diffusers import SchedulerMixin
from einops import reduce
from torch import Tensor
from torch.nn import functional

from smcd.conditions import Conditions
from smcd.latents import encode_frames
from smcd.pipeline import SMCDPipeline
from smcd.sprites.world import SpriteClip, World, make_clip
from smcd.text import encode_phrase_lists

SNRS = (0.001, 0.01, 0.1, 1.0, 10.0, 150.0)
REGIONS = ("first_object", "later_objects", "uncovered", "near", "far")
_NEAR = 2  # latents: ground that is at most this far from an object is "near"
_AT_ONCE = 8  # clips


@dataclass(frozen=True)
class Clips:
    """Clips of the world as a model is given them.

    Attributes:
        latents: the VAE's means, B 4 F h w.
        conditions: boxes, text and first frame as the clips have them.
        regions: for each name of `REGIONS`, B F h w, bool: where it is. "first_object" are the objects of frame 0,
            "later_objects" those of the others, "uncovered" ground where an object was in frame 0, "near" and "far" the
            rest of the ground. A latent is an object's where any of its pixels is.
    """

    latents: Tensor
    conditions: Conditions
    regions: dict[str, Tensor]


def clips_of(
    pipe: SMCDPipeline, world: World, seed: int, count: int, frames: int, size: int, slots: int
) -> list[Clips]:
    """The first clips of the world with this seed, a few at a time, as training gives them: each with `slots` objects,
    absent ones where it has fewer, the first ones where it has more."""
    made = [make_clip(seed, index, frames, size, world) for index in range(count)]
    return [_encode(pipe, made[first : first + _AT_ONCE], slots) for first in range(0, count, _AT_ONCE)]


@torch.no_grad()
def _encode(pipe: SMCDPipeline, clips: Sequence[SpriteClip], slots: int) -> Clips:
    latents, _ = encode_frames(pipe.vae, torch.from_numpy(np.stack([clip.frames for clip in clips])))
    text, _ = pipe.encode_prompt([clip.caption for clip in clips], do_classifier_free_guidance=False)
    boxes = latents.new_zeros(len(clips), latents.shape[2], slots, 4)
    box_mask = boxes.new_zeros(boxes.shape[:-1])
    for b, clip in enumerate(clips):
        boxes[b, :, : len(clip.sprites)] = torch.from_numpy(clip.boxes[:, :slots])
        box_mask[b, :, : len(clip.sprites)] = torch.from_numpy(clip.box_mask[:, :slots])
    names = [[sprite.phrase for sprite in clip.sprites[:slots]] for clip in clips]
    shape = (len(clips), slots, text.shape[-1])
    phrases = encode_phrase_lists(pipe.tokenizer, pipe.text_encoder, names, shape, text.device)[:, None]
    conditions = Conditions(text.float(), None, boxes, box_mask, phrases, None, latents[:, :, 0])
    covered = torch.from_numpy(np.stack([clip.masks.any(1) for clip in clips])).to(latents.device)
    return Clips(latents, conditions, _regions(covered, latents.shape[-2:]))


def _regions(covered: Tensor, size: Sequence[int]) -> dict[str, Tensor]:
    """Of where objects are, B F H W (pixels), to regions of the latents, whose sides are `size`."""
    pooled = functional.adaptive_max_pool2d(covered.float(), tuple(size))
    objects = pooled > 0
    around = functional.max_pool2d(pooled, 2 * _NEAR + 1, stride=1, padding=_NEAR) > 0
    first = torch.zeros_like(objects)
    first[:, 0] = True
    uncovered = objects[:, :1] & ~objects
    return {
        "first_object": objects & first,
        "later_objects": objects & ~first,
        "uncovered": uncovered,
        "near": around & ~objects & ~uncovered,
        "far": ~around & ~uncovered,
    }


Change = Callable[[Clips], Clips]


def _another_picture(paths: Sequence[str]) -> Change:
    """The next clip's first frame, in one of the two paths or in both."""

    def change(clips: Clips) -> Clips:
        own, other = clips.conditions.image_latents, clips.conditions.image_latents.roll(1, 0)
        conditions = replace(
            clips.conditions,
            image_latents=other if "zero conv" in paths else own,
            image_token_latents=other if "image gate" in paths else own,
        )
        return replace(clips, conditions=conditions)

    return change


def _reversed(clips: Clips) -> Clips:
    """Last frame first, boxes too; the image stays, so that now the last frame is the one that it shows."""
    conditions = replace(
        clips.conditions, boxes=clips.conditions.boxes.flip(1), box_mask=clips.conditions.box_mask.flip(1)
    )
    return Clips(clips.latents.flip(2), conditions, {name: where.flip(1) for name, where in clips.regions.items()})


AS_GIVEN = "as given"
CHANGES: dict[str, Change] = {
    AS_GIVEN: lambda clips: clips,
    "another picture in the zero conv": _another_picture(["zero conv"]),
    "another picture in the image gate": _another_picture(["image gate"]),
    "another picture in both": _another_picture(["zero conv", "image gate"]),
    "boxes dropped": lambda clips: replace(clips, conditions=clips.conditions.drop(boxes=True)),
    "frames in reverse": _reversed,
}


@torch.no_grad()
def errors(
    pipe: SMCDPipeline, batches: Sequence[Clips], change: Change = CHANGES[AS_GIVEN], seed: int = 0
) -> dict[float, dict[str, float]]:
    """Mean squared error of the predicted clean latents, by signal-to-noise ratio and region.

    A region that no clip has is left out. `seed` is that of the noise.
    """
    sums: dict[tuple[float, str], Tensor] = {}
    for number, batch in enumerate(batches):
        generator = torch.Generator().manual_seed(seed + number)
        noise = torch.randn(batch.latents.shape, generator=generator).to(batch.latents)
        clips = change(batch)
        inputs = clips.conditions.unet_inputs(pipe.unet.config, pipe.position_net, pipe.image_encoder)
        for snr in SNRS:
            step = _timestep(pipe.scheduler, snr)
            steps = torch.full(noise.shape[:1], step, device=noise.device)
            sample = pipe.scheduler.add_noise(clips.latents, noise, steps)
            predicted = pipe.unet(sample, steps, **inputs, return_dict=False)[0].float()
            error = clean_latents(pipe.scheduler, predicted, sample, step) - clips.latents
            squared = reduce(error.square(), "b c f h w -> b f h w", "mean")
            for name, where in clips.regions.items():
                found = torch.stack([squared[where].sum(), where.sum()])
                sums[snr, name] = sums.get((snr, name), torch.zeros_like(found)) + found
    return {
        snr: {name: float(total / count) for name in REGIONS for total, count in [sums[snr, name]] if count}
        for snr in SNRS
    }


def _timestep(scheduler: SchedulerMixin, snr: float) -> int:
    """The one whose signal-to-noise ratio is nearest."""
    alphas = scheduler.alphas_cumprod
    return int((torch.log(alphas / (1 - alphas)) - np.log(snr)).abs().argmin())


def clean_latents(scheduler: SchedulerMixin, predicted: Tensor, sample: Tensor, step: int) -> Tensor:
    """What a prediction says that the clean latents are."""
    alpha = scheduler.alphas_cumprod[step].to(sample)
    signal, noise = alpha.sqrt(), (1 - alpha).sqrt()
    if scheduler.config.prediction_type == "v_prediction":
        return signal * sample - noise * predicted
    return (sample - noise * predicted) / signal


def flat(found: Mapping[float, Mapping[str, float]]) -> dict[str, float]:
    """The errors as one line of metrics: "snr_0.01/far" and so on."""
    return {f"snr_{snr:g}/{region}": error for snr, row in found.items() for region, error in row.items()}


def table(rows: Mapping[str, Mapping[float, Mapping[str, float]]]) -> str:
    """The errors under each change of what is given, as a Markdown table."""
    names = [name.replace("_", " ") for name in REGIONS]
    lines = [f"| | SNR | {' | '.join(names)} |", f"|---|---|{'---|' * len(names)}"]
    for title, found in rows.items():
        for snr, row in found.items():
            numbers = (f"{row[name]:.4f}" if name in row else "" for name in REGIONS)
            lines.append(f"| {title} | {snr:g} | {' | '.join(numbers)} |")
    return "\n".join(lines)
