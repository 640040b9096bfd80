"""What `--dry-run` prints: what would train, the memory that it needs, and the steps."""

from collections import defaultdict
from dataclasses import asdict
from typing import NamedTuple

import torch

from smcd.conditions import Conditions
from smcd.config import DataConfig, GligenConfig
from smcd.data.mixing import Mixture
from smcd.pipeline import SMCDPipeline
from smcd.training.memory import activations_of
from smcd.training.objective import Example, TrainedNetworks
from smcd.training.run import Plan
from smcd.training.trained_networks import Model

_GIB = 2**30


class Shape(NamedTuple):
    """The shape of a training clip; the sides are in pixels."""

    frames: int
    height: int
    width: int
    objects: int


def shape_of(data: DataConfig) -> Shape:
    """The shape of the clips of these data."""
    if data.name == "gligen":
        options = next(iter(data.dataset_names.values()), GligenConfig())
        return Shape(1, options.image_size, options.image_size, options.max_boxes_per_data)
    return Shape(data.n_sample_frames, data.height, data.width, data.num_max_obj)


def describe(plan: Plan, model: Model, mixture: Mixture, shape: Shape, out: str) -> str:
    """The text: what trains on these clips, of this shape, and what that needs."""
    drops = {name: share for name, share in asdict(model.stage.drops).items() if share}
    memory = memory_of(plan, model.pipe, model.networks, shape)
    clips = plan.steps * plan.clips
    return "\n".join(
        [
            f"stage {model.stage.name}",
            "",
            *(f"trains {what}" for what in _what_trains(model.networks)),
            "",
            f"drops, for each sample: {', '.join(f'{name} {share:g}' for name, share in drops.items())}",
            "",
            f"memory of each process, in GiB ({plan.precision} precision)",
            *(f"  {size / _GIB:8.3f}  {name}" for name, size in memory.items()),
            f"  {sum(memory.values()) / _GIB:8.3f}  together, beside the libraries' own",
            "",
            f"data: {', '.join(f'{source.name} ({len(source)} clips)' for source in mixture.sources)}",
            f"{plan.steps} steps of {plan.clips} clips ({plan.batch_size} at a time x {plan.accumulation} accumulation "
            f"x {plan.processes} processes): {clips} clips, {clips / len(mixture):.3g} epochs",
            f"learning rate {plan.rate:g}, {plan.rate_schedule}",
            f"a checkpoint every {plan.checkpoint_every} steps, in {out}",
        ]
    )


def _what_trains(networks: TrainedNetworks) -> list[str]:
    """A line for each network, and one for all: tensors, and millions of parameters."""
    sizes: dict[str, list[int]] = defaultdict(list)
    for name, parameter in networks.trained().items():
        sizes[name.partition(".")[0]].append(parameter.numel())
    sizes["together"] = [size for of_part in sizes.values() for size in of_part]
    return [f"{name:14} {len(part):5} tensors {sum(part) / 1e6:10.2f} M" for name, part in sizes.items()]


def memory_of(plan: Plan, pipe: SMCDPipeline, networks: TrainedNetworks, shape: Shape) -> dict[str, int]:
    """Bytes of a process that shares nothing with others (FSDP and ZeRO divide the first three)."""
    half = plan.precision != "no"
    trained = sum(parameter.numel() for parameter in networks.trained().values())
    encoders = sum(parameter.numel() for part in (pipe.vae, pipe.text_encoder) for parameter in part.parameters())
    memory = {
        "weights that train, and their gradients": 8 * trained,
        "AdamW's state": (2 if plan.adam_8bit else 8) * trained,
        "frozen weights": sum(weight.nbytes for weight in networks.parameters() if not weight.requires_grad),
        "VAE and text encoder": encoders * (2 if half else 4),
    }
    if plan.ema:
        memory["running average"] = 4 * trained
    activations = activations_of(networks, lambda: _example(plan.batch_size, shape, pipe), half)
    return memory | {"activations at their peak, about": activations}


def _example(clips: int, shape: Shape, pipe: SMCDPipeline) -> Example:
    """A batch of the run's shapes, without content."""
    unet, factor = pipe.unet.config, pipe.vae_scale_factor
    frames, objects = shape.frames, shape.objects
    latents = torch.empty(clips, unet.in_channels, frames, shape.height // factor, shape.width // factor)
    text = torch.empty(clips, 77, unet.cross_attention_dim)
    conditions = Conditions(
        text=text,
        null_text=text,
        boxes=torch.empty(clips, frames, objects, 4),
        box_mask=torch.empty(clips, frames, objects),
        phrase_embeddings=torch.empty(clips, 1, objects, unet.cross_attention_dim),
        object_padding=None,
        image_latents=latents[:, :, 0],
    )
    return Example(latents, latents, torch.empty(clips, dtype=torch.long), conditions)
