"""A training run: its parts and its numbers, built from its config."""

import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, set_seed
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from diffusers.utils import is_bitsandbytes_available
from torch import nn

from smcd.config import DataConfig, TrainConfig
from smcd.data.build import build_data
from smcd.data.latent_cache import EncoderHashes
from smcd.data.mixing import ClipLoader
from smcd.pipeline import SMCDPipeline
from smcd.runtime.allocation import keep_freed_memory
from smcd.runtime.built_in import BUILT_IN
from smcd.runtime.errors import InputError
from smcd.runtime.precision import usable_precision
from smcd.training import checkpoint
from smcd.training.batch import Encoders
from smcd.training.distributed import gates_as_vectors
from smcd.training.trained_networks import DTYPES, Model

logger = logging.getLogger(__name__)

_PATHS = ("pretrained_model_path", "root_path", "tokenizer", "pretrained_weight_path", "tune_from_ckpt_path")


@dataclass
class Run:
    """The parts of a training run."""

    out: Path
    options: dict[str, Any]  # all of them, by name, as they are kept with the results
    settings: dict[str, Any]  # what the result depends on, by option
    seed: int
    clips: int  # of one step, of all processes
    dtype: torch.dtype  # the precision of autocast and of frozen layers; float32 is without autocast
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


def resolved(config: TrainConfig) -> TrainConfig:
    """The config as this machine takes it: folders as absolute paths, so that a checkpoint finds them from anywhere,
    and nothing that needs a GPU where there is none, except in a dry run, which tells of any GPU."""
    device = "gpu" if config.dry_run or torch.accelerator.is_available() else "cpu"
    changes: dict[str, Any] = {"mixed_precision": usable_precision(config.mixed_precision, device)}
    has_8bit_adam = config.dry_run or (is_bitsandbytes_available() and torch.cuda.is_available())
    if config.use_8bit_adam and not has_8bit_adam:
        logger.warning("8-bit AdamW needs a GPU and bitsandbytes (pip install bitsandbytes): using AdamW")
        changes["use_8bit_adam"] = False
    for name in _PATHS:
        value = getattr(config, name)
        if value is not None and value not in BUILT_IN and Path(value).expanduser().exists():
            changes[name] = _absolute(value)
    if "tune_from_ckpt_path" in changes:
        latest = checkpoint.latest_in(Path(changes["tune_from_ckpt_path"]))
        if latest is not None:  # this one, also when that run has gone on
            changes["tune_from_ckpt_path"] = str(latest)
            logger.info(f"starting from {latest}")
    for section in ("train_data", "eval_data"):
        data = getattr(config, section)
        folders = {name: value for name in ("path", "data_path", "latents") if (value := getattr(data, name))}
        changes[section] = replace(data, **{name: _absolute(value) for name, value in folders.items()})
    return replace(config, **changes)


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().resolve())


def clips_and_rate(config: TrainConfig, processes: int) -> tuple[int, float]:
    """Clips of one step, of all processes; and the learning rate after `scale_lr`."""
    clips = config.train_batch_size * config.gradient_accumulation_steps * processes
    return clips, config.learning_rate * (clips if config.scale_lr else 1)


def make_run(config: TrainConfig, settings: dict[str, Any], accelerator: Accelerator, model: Model) -> Run:
    """The run at its start; `settings` as in `Run`.

    Raises:
        InputError: data that are missing or broken, or `use_ema` under FSDP or DeepSpeed.
    """
    device, kind, bare = accelerator.device, accelerator.distributed_type, model.networks
    seed, dtype = config.seed, DTYPES[config.mixed_precision]
    clips, rate = clips_and_rate(config, accelerator.num_processes)
    model.pipe.set_progress_bar_config(disable=True)
    if device.type == "cpu":
        keep_freed_memory()
    hashes = encoder_hashes(model.pipe, config.train_data, config.eval_data)  # before the encoders are cast
    encoders = Encoders(model.pipe, device, dtype, model.stage.text_encoder)
    mixture, order = build_data(config.train_data, seed, hashes)
    logger.info(f"data: {len(mixture)} clips of {', '.join(source.name for source in mixture.sources)}")
    position = (accelerator.process_index, accelerator.num_processes)
    loader = ClipLoader(mixture, order, config.train_batch_size, config.num_workers, *position)
    set_seed(seed, device_specific=True)  # for dropout; everything else is drawn by `batch.draw`
    if kind == DistributedType.FSDP:
        gates_as_vectors(bare)
    bare.to(device)
    optimizer = _make_optimizer(config, list(bare.trained().values()), rate, device)
    warmup, steps = config.lr_warmup_steps, config.max_train_steps
    schedule = get_scheduler(config.lr_scheduler, optimizer, num_warmup_steps=warmup, num_training_steps=steps)
    if kind == DistributedType.DEEPSPEED and dtype != torch.float32:  # accelerate does not do it there
        bare.forward = torch.autocast(device.type, dtype)(bare.forward)  # type: ignore[method-assign]
    networks, optimizer = accelerator.prepare(bare, optimizer)
    ema = None
    if config.use_ema:
        if kind in (DistributedType.FSDP, DistributedType.DEEPSPEED):
            raise InputError("use_ema needs whole weights in every process: use configs/accelerate/ddp.yaml")
        ema = EMAModel(list(bare.trained().values()), decay=config.ema_decay)
    # The schedule is not prepared: accelerate would step it once for every process.
    kept = (Path(config.output_dir), asdict(config), settings, seed, clips, dtype)
    return Run(*kept, accelerator, model, encoders, loader, networks, optimizer, schedule, ema, hashes)


def encoder_hashes(pipe: SMCDPipeline, *sections: DataConfig) -> EncoderHashes | None:
    """Hashes of the VAE and the text encoder, if these data name files made by them."""
    if not any(section.latents or section.phrase_embeddings for section in sections):
        return None
    return EncoderHashes.of(pipe.vae, pipe.text_encoder)


def _make_optimizer(
    config: TrainConfig, parameters: list[nn.Parameter], rate: float, device: torch.device
) -> torch.optim.Optimizer:
    options: dict[str, Any] = {
        "lr": rate,
        "betas": (config.adam_beta1, config.adam_beta2),
        "weight_decay": config.adam_weight_decay,
        "eps": config.adam_epsilon,
    }
    if config.use_8bit_adam:
        import bitsandbytes

        return bitsandbytes.optim.AdamW8bit(parameters, **options)
    return torch.optim.AdamW(parameters, **options, fused=device.type in ("cuda", "cpu"))
