"""What `--dry-run` prints: what would train, the memory that it needs, and the steps."""

import dataclasses
from collections import defaultdict

import torch
from torch import Tensor, nn

from smcd.conditions import Conditions
from smcd.config import TrainConfig
from smcd.pipeline import SMCDPipeline
from smcd.training.objective import Example, TrainedNetworks
from smcd.training.settings import global_batch, learning_rate
from smcd.training.stages import Stage

_GIB = 2**30


def plan(config: TrainConfig, num_processes: int, stage: Stage, pipe: SMCDPipeline, networks: TrainedNetworks) -> str:
    """The text."""
    drops = {name: share for name, share in dataclasses.asdict(stage.drops).items() if share}
    lines = [f"stage {stage.name}", ""]
    lines += [f"trains {what}" for what in _what_trains(networks)]
    lines += ["", f"drops, for each sample: {', '.join(f'{name} {share:g}' for name, share in drops.items())}"]
    lines += ["", f"memory of each process, in GiB ({config.mixed_precision} precision)"]
    memory = memory_of(config, pipe, networks)
    lines += [f"  {size / _GIB:8.3f}  {name}" for name, size in memory.items()]
    lines += [f"  {sum(memory.values()) / _GIB:8.3f}  together, beside the libraries' own", ""]
    clips = global_batch(config, num_processes)
    lines += [
        f"{config.max_train_steps} steps of {clips} clips ({config.train_batch_size} at a time x "
        f"{config.gradient_accumulation_steps} accumulation x {num_processes} processes): "
        f"{config.max_train_steps * clips} clips",
        f"learning rate {learning_rate(config, num_processes):g}, {config.lr_scheduler}",
        f"a checkpoint every {config.checkpointing_steps} steps, in {config.output_dir}",
    ]
    return "\n".join(lines)


def _what_trains(networks: TrainedNetworks) -> list[str]:
    """A line for each network, and one for all: tensors, and millions of parameters."""
    sizes: dict[str, list[int]] = defaultdict(list)
    for name, parameter in networks.trained().items():
        sizes[name.partition(".")[0]].append(parameter.numel())
    sizes["together"] = [size for of_part in sizes.values() for size in of_part]
    return [f"{name:14} {len(part):5} tensors {sum(part) / 1e6:10.2f} M" for name, part in sizes.items()]


def memory_of(config: TrainConfig, pipe: SMCDPipeline, networks: TrainedNetworks) -> dict[str, int]:
    """Bytes of a process that shares nothing with others (FSDP and ZeRO divide the first three)."""
    half = 4 if config.mixed_precision == "no" else 2
    trained = sum(parameter.numel() for parameter in networks.trained().values())
    encoders = sum(parameter.numel() for part in (pipe.vae, pipe.text_encoder) for parameter in part.parameters())
    memory = {
        "weights that train, and their gradients": 8 * trained,
        "AdamW's state": (2 if config.use_8bit_adam else 8) * trained,
        "frozen weights": sum(
            parameter.numel() * parameter.element_size()
            for parameter in networks.parameters()
            if not parameter.requires_grad
        ),
        "VAE and text encoder": encoders * half,
    }
    if config.use_ema:
        memory["running average"] = 4 * trained
    clips = config.train_batch_size
    activations = activations_of(networks, _example(config, pipe, networks))
    memory[f"activations kept for backward, about ({clips} clip{'s' * (clips > 1)})"] = activations * clips * half // 4
    return memory


def _example(config: TrainConfig, pipe: SMCDPipeline, networks: TrainedNetworks) -> Example:
    """One sample of the run's size, without content (on the meta device)."""
    data, unet = config.train_data, networks.unet.config
    if data.name == "gligen":
        options = next(iter(data.dataset_names.values()), None)
        side, objects = (options.image_size, options.max_boxes_per_data) if options else (256, 30)
        frames, height, width = 1, side, side
    else:
        frames, height, width, objects = data.n_sample_frames, data.height, data.width, data.num_max_obj
    size = (height // pipe.vae_scale_factor, width // pipe.vae_scale_factor)
    with torch.device("meta"):
        latents = torch.empty(1, unet.in_channels, frames, *size)
        conditions = Conditions(
            text=torch.empty(1, 77, unet.cross_attention_dim),
            null_text=torch.empty(1, 77, unet.cross_attention_dim),
            boxes=torch.empty(1, frames, objects, 4),
            box_mask=torch.empty(1, frames, objects),
            phrase_embeddings=torch.empty(1, 1, objects, unet.cross_attention_dim),
            object_padding=torch.zeros(1, objects, dtype=torch.bool, device="cpu"),
            image_latents=latents[:, :, 0],
        )
        return Example(latents, latents, torch.empty(1, dtype=torch.long), conditions)


def activations_of(networks: TrainedNetworks, example: Example) -> int:
    """Bytes that a forward pass keeps for backward, in float32: counted on the meta device, nothing is computed."""
    raise NotImplementedError
