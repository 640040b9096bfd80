"""A training run: its parts and its numbers, built from its config."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, set_seed
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from torch import nn

from smcd.config import DataConfig, OptimizerOptions
from smcd.data.build import build_data
from smcd.data.latent_cache import EncoderHashes
from smcd.data.mixing import ClipLoader
from smcd.pipeline import SMCDPipeline
from smcd.runtime.allocation import keep_freed_memory
from smcd.runtime.errors import InputError
from smcd.training.batch import Encoders
from smcd.training.distributed import gates_as_vectors
from smcd.training.trained_networks import Model

logger = logging.getLogger(__name__)


@dataclass
class Run:
    """The parts of a training run."""

    out: Path
    options: dict[str, Any]  # all of them, by name, as they are kept with the results
    settings: dict[str, Any]  # what the result depends on, by option
    seed: int
    clips: int  # of one step, of all processes
    accelerator: Accelerator
    model: Model
    encoders: Encoders
    loader: ClipLoader
    networks: nn.Module  # as accelerate prepared them for this machine; `model.networks` are the same ones, bare
    optimizer: Any
    schedule: Any
    ema: EMAModel | None  # the running average of what trains
    hashes: EncoderHashes | None  # of VAE and text encoder, if files made by them are read
    step: int = 0  # steps done

    def trained(self) -> dict[str, nn.Parameter]:
        """The parameters that train, by name."""
        return self.model.networks.trained()


def clips_and_rate(options: OptimizerOptions, processes: int) -> tuple[int, float]:
    """Clips of one step, of all processes; and the learning rate after `scale_lr`."""
    clips = options.train_batch_size * options.gradient_accumulation_steps * processes
    return clips, options.learning_rate * (clips if options.scale_lr else 1)


def make_run(
    steps: OptimizerOptions,
    accelerator: Accelerator,
    model: Model,
    hashes: EncoderHashes | None,
    out: Path,
    options: dict[str, Any],
    settings: dict[str, Any],
) -> Run:
    """The run at its start; the last four as in `Run`.

    Raises:
        InputError: data that are missing or broken, or `use_ema` under FSDP or DeepSpeed.
    """
    device, kind, bare, seed = accelerator.device, accelerator.distributed_type, model.networks, steps.seed
    clips, rate = clips_and_rate(steps, accelerator.num_processes)
    model.pipe.set_progress_bar_config(disable=True)
    if device.type == "cpu":
        keep_freed_memory()
    encoders = Encoders(model.pipe, device, model.dtype, model.stage.text_encoder)
    mixture, order = build_data(steps.train_data, seed, hashes)
    logger.info(f"data: {len(mixture)} clips of {', '.join(source.name for source in mixture.sources)}")
    position = (accelerator.process_index, accelerator.num_processes)
    loader = ClipLoader(mixture, order, steps.train_batch_size, steps.num_workers, *position)
    set_seed(seed, device_specific=True)  # for dropout; everything else is drawn by `batch.draw`
    if kind in (DistributedType.FSDP, DistributedType.DEEPSPEED):
        gates_as_vectors(bare)
    bare.to(device)
    optimizer = _make_optimizer(steps, list(bare.trained().values()), rate, device)
    warmup, count = steps.lr_warmup_steps, steps.max_train_steps
    schedule = get_scheduler(steps.lr_scheduler, optimizer, num_warmup_steps=warmup, num_training_steps=count)
    if kind == DistributedType.DEEPSPEED and model.dtype != torch.float32:  # accelerate does not do it there
        bare.forward = torch.autocast(device.type, model.dtype)(bare.forward)  # type: ignore[method-assign]
    networks, optimizer = accelerator.prepare(bare, optimizer)
    ema = None
    if steps.use_ema:
        if kind in (DistributedType.FSDP, DistributedType.DEEPSPEED):
            raise InputError("use_ema needs whole weights in every process: use configs/accelerate/ddp.yaml")
        ema = EMAModel(list(bare.trained().values()), decay=steps.ema_decay)
    # The schedule is not prepared: accelerate would step it once for every process.
    kept = (out, options, settings, seed, clips)
    return Run(*kept, accelerator, model, encoders, loader, networks, optimizer, schedule, ema, hashes)


def encoder_hashes(pipe: SMCDPipeline, *sections: DataConfig) -> EncoderHashes | None:
    """Hashes of the VAE and the text encoder, if these data name files made by them."""
    if not any(section.latents or section.phrase_embeddings for section in sections):
        return None
    return EncoderHashes.of(pipe.vae, pipe.text_encoder)


def _make_optimizer(
    steps: OptimizerOptions, parameters: list[nn.Parameter], rate: float, device: torch.device
) -> torch.optim.Optimizer:
    options: dict[str, Any] = {
        "lr": rate,
        "betas": (steps.adam_beta1, steps.adam_beta2),
        "weight_decay": steps.adam_weight_decay,
        "eps": steps.adam_epsilon,
    }
    if steps.use_8bit_adam:
        import bitsandbytes

        return bitsandbytes.optim.AdamW8bit(parameters, **options)
    return torch.optim.AdamW(parameters, **options, fused=device.type in ("cuda", "cpu"))
