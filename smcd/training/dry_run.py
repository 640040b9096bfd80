"""What `--dry-run` prints: what would train, the memory that it needs, and the steps."""

import dataclasses
from collections import defaultdict

import torch

from smcd.conditions import Conditions
from smcd.config import GligenConfig, TrainConfig
from smcd.data.build import build_data
from smcd.pipeline import SMCDPipeline
from smcd.training.memory import activations_of
from smcd.training.objective import Example, TrainedNetworks
from smcd.training.run import encoder_hashes
from smcd.training.settings import global_batch, learning_rate
from smcd.training.stages import Stage

_GIB = 2**30


def plan(config: TrainConfig, num_processes: int, stage: Stage, pipe: SMCDPipeline, networks: TrainedNetworks) -> str:
    """The text. Raises an InputError for data that are missing or broken."""
    mixture, _ = build_data(config.train_data, config.seed, encoder_hashes(config, pipe))
    if config.validation_steps:
        build_data(config.eval_data, config.seed, encoder_hashes(config, pipe))
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
        f"data: {', '.join(f'{source.name} ({len(source)} clips)' for source in mixture.sources)}",
        f"{config.max_train_steps} steps of {clips} clips ({config.train_batch_size} at a time x "
        f"{config.gradient_accumulation_steps} accumulation x {num_processes} processes): "
        f"{config.max_train_steps * clips} clips, {config.max_train_steps * clips / len(mixture):.3g} epochs",
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
    activations = activations_of(networks, lambda: _example(config, pipe, networks), half == 2)
    memory["activations at their peak, about"] = activations
    return memory


def _shape(config: TrainConfig) -> tuple[int, int, int, int]:
    """Frames, height, width and objects of a clip."""
    data = config.train_data
    if data.name == "gligen":
        options = next(iter(data.dataset_names.values()), GligenConfig())
        return 1, options.image_size, options.image_size, options.max_boxes_per_data
    return data.n_sample_frames, data.height, data.width, data.num_max_obj


def _example(config: TrainConfig, pipe: SMCDPipeline, networks: TrainedNetworks) -> Example:
    """A batch of the run's shapes, without content."""
    clips, (frames, height, width, objects) = config.train_batch_size, _shape(config)
    unet = networks.unet.config
    latents = torch.empty(
        clips, unet.in_channels, frames, height // pipe.vae_scale_factor, width // pipe.vae_scale_factor
    )
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
