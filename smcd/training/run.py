"""Everything a run needs, built from its config."""

import logging
import os
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, InitProcessGroupKwargs, ProjectConfiguration, set_seed
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from diffusers.utils import is_bitsandbytes_available, is_xformers_available
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from smcd.config import DataConfig, TrainConfig
from smcd.data.build import build_data
from smcd.data.latent_cache import EncoderHashes
from smcd.data.mixing import ClipLoader
from smcd.pipeline import SMCDPipeline
from smcd.runtime.allocation import keep_freed_memory
from smcd.runtime.errors import InputError
from smcd.runtime.precision import usable_precision
from smcd.schedulers import first_timestep
from smcd.training.encode import Encoders
from smcd.training.objective import TrainedNetworks, set_trained
from smcd.training.settings import learning_rate
from smcd.training.stages import Stage, make_stage, trainable_parameters
from smcd.training.starting_weights import build_start, frozen_hash, is_tiny
from smcd.training.trackers import make_trackers

logger = logging.getLogger(__name__)

_PATIENCE = timedelta(hours=1)  # of processes, while the main one makes sample videos and exports alone
_HALF = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass
class Run:
    """The parts of a training run.

    Attributes:
        pipe: the pipeline whose networks train, for samples.
        bare: the networks themselves.
        networks: as accelerate prepared them for this machine.
        ema: the running average of what trains, or None.
        hashes: of VAE and text encoder, where files made by them are read.
        step: steps done.
    """

    config: TrainConfig
    stage: Stage
    accelerator: Accelerator
    pipe: SMCDPipeline
    encoders: Encoders
    loader: ClipLoader
    bare: TrainedNetworks
    networks: nn.Module
    optimizer: Any
    schedule: Any
    ema: EMAModel | None
    hashes: EncoderHashes | None = None
    step: int = 0

    def autocast(self) -> AbstractContextManager:
        """The run's precision, for what does not go through the prepared networks."""
        chosen = self.bare.autocast
        return torch.autocast(self.accelerator.device.type, chosen) if chosen else self.accelerator.autocast()

    @property
    def out(self) -> Path:
        return Path(self.config.output_dir)


def make_accelerator(config: TrainConfig) -> tuple[TrainConfig, Accelerator]:
    """The accelerator, and the config with a precision that this machine has.

    Raises:
        InputError: a tracker that is not there.
    """
    gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    if not gpu:
        config = replace(config, mixed_precision=usable_precision(config.mixed_precision, "cpu"))
    if config.use_8bit_adam and not (is_bitsandbytes_available() and torch.cuda.is_available()):
        logger.warning("8-bit AdamW needs a GPU and bitsandbytes (pip install bitsandbytes): using AdamW")
        config = replace(config, use_8bit_adam=False)
    deepspeed = os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true"  # set by accelerate launch
    if deepspeed and config.mixed_precision == "fp16":
        raise InputError("under DeepSpeed use --mixed_precision bf16 (or no): it would keep all weights in fp16")
    trackers = make_trackers(config)
    accelerator = Accelerator(
        cpu=not gpu,
        # DeepSpeed would cast all weights, PositionNet's too: there the networks do the autocast themselves.
        mixed_precision="no" if deepspeed else config.mixed_precision,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        log_with=trackers or None,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=_PATIENCE)],
        project_config=ProjectConfiguration(project_dir=config.output_dir, logging_dir=f"{config.output_dir}/logs"),
    )
    if accelerator.distributed_type == DistributedType.FSDP:
        # Autocast gives the precision; FSDP's own policy would round boxes, on which PositionNet depends.
        accelerator.state.fsdp_plugin.mixed_precision_policy = None
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        plugin = accelerator.state.deepspeed_plugin
        plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = config.train_batch_size
        plugin.deepspeed_config["gradient_clipping"] = config.max_grad_norm
    return config, accelerator


def make_networks(config: TrainConfig) -> tuple[Stage, SMCDPipeline, TrainedNetworks]:
    """The networks on the CPU, with what trains in float32 and the rest in the precision of the run.

    Raises:
        InputError: weights that are missing or do not fit.
    """
    stage = make_stage(config)
    if is_tiny(config):
        logger.warning(
            "no --pretrained_model_path, no --tune_from_ckpt_path: training a tiny untrained model, to see that "
            "everything is in place"
        )
    pipe, new_position_net = build_start(config, stage)
    _check_sizes(config, pipe)
    networks = TrainedNetworks(
        pipe.unet,
        pipe.position_net,
        pipe.image_encoder,
        pipe.scheduler,
        pipe.text_encoder if stage.text_encoder else None,
        stage.temporal,
    )
    names = trainable_parameters(
        stage.name,
        pipe.unet,
        pipe.position_net,
        pipe.image_encoder,
        new_position_net=new_position_net,
        temporal=stage.temporal,
        modules=stage.modules,
    )
    if stage.text_encoder:
        names |= {f"text_encoder.{name}" for name, _ in pipe.text_encoder.named_parameters()}
    if not names:
        raise InputError("nothing would train; see trainable_modules")
    networks.frozen_hash = frozen_hash(pipe, names)
    set_trained(networks, names, _HALF[config.mixed_precision])
    if config.gradient_checkpointing:
        pipe.unet.enable_gradient_checkpointing()
    if config.enable_xformers_memory_efficient_attention:
        if is_xformers_available() and torch.cuda.is_available():
            pipe.unet.enable_xformers_memory_efficient_attention()
        else:
            logger.warning("xformers is not installed, or there is no GPU for it: it is left out")
    return stage, pipe, networks


def _check_sizes(config: TrainConfig, pipe: SMCDPipeline) -> None:
    """Raise an InputError for pictures that the networks cannot take, or steps that sampling cannot."""
    sides = _sides("train_data", config.train_data)
    if config.validation_steps:
        sides |= _sides("eval_data", config.eval_data)
    if config.validation_steps and config.validation_videos:
        sampling = config.validation_data
        sides |= {"validation_data.width": sampling.width, "validation_data.height": sampling.height}
        try:
            first_timestep(pipe.scheduler, sampling.num_inference_steps)
        except ValueError as error:
            raise InputError(f"validation_data.{error}") from None
    multiple = pipe.size_multiple
    for name, side in sides.items():
        if side is not None and (side < multiple or side % multiple):
            raise InputError(f"{name} is {side}; this model takes multiples of {multiple}")


def _sides(section: str, data: DataConfig) -> dict[str, int | None]:
    if data.name == "gligen":
        sets = data.dataset_names.items()
        return {f"{section}.dataset_names.{name}.image_size": some.image_size for name, some in sets}
    return {f"{section}.width": data.width, f"{section}.height": data.height}


def make_run(
    config: TrainConfig, accelerator: Accelerator, networks: tuple[Stage, SMCDPipeline, TrainedNetworks]
) -> Run:
    """The run at its start.

    Raises:
        InputError: data that are missing or broken.
    """
    stage, pipe, bare = networks
    pipe.set_progress_bar_config(disable=True)
    device = accelerator.device
    if device.type == "cpu":
        keep_freed_memory()
    hashes = encoder_hashes(config, pipe)  # before the encoders are cast
    encoders = Encoders(pipe, device, _HALF[config.mixed_precision], stage.text_encoder)
    mixture, order = build_data(config.train_data, config.seed, hashes)
    logger.info(f"data: {len(mixture)} clips of {', '.join(source.name for source in mixture.sources)}")
    position = (accelerator.process_index, accelerator.num_processes)
    loader = ClipLoader(mixture, order, config.train_batch_size, config.num_workers, *position)
    set_seed(config.seed, device_specific=True)  # dropout; everything else is drawn by `draws.draw`
    if accelerator.distributed_type == DistributedType.FSDP:
        gates_as_vectors(bare)
    bare.to(device)
    rate = learning_rate(config, accelerator.num_processes)
    optimizer = _make_optimizer(config, list(bare.trained().values()), rate, device)
    schedule = get_scheduler(
        config.lr_scheduler,
        optimizer,
        num_warmup_steps=config.lr_warmup_steps,
        num_training_steps=config.max_train_steps,
    )
    if accelerator.distributed_type == DistributedType.DEEPSPEED and config.mixed_precision == "bf16":
        bare.autocast = torch.bfloat16
    prepared, optimizer = accelerator.prepare(bare, optimizer)
    ema = None
    if config.use_ema:
        if accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED):
            raise InputError("use_ema needs whole weights in every process: use configs/accelerate/ddp.yaml")
        ema = EMAModel(list(bare.trained().values()), decay=config.ema_decay)
    # The schedule is not prepared: accelerate would step it once for every process.
    return Run(config, stage, accelerator, pipe, encoders, loader, bare, prepared, optimizer, schedule, ema, hashes)


def encoder_hashes(config: TrainConfig, pipe: SMCDPipeline) -> EncoderHashes | None:
    """Of the VAE and the text encoder, where the data name files made by them."""
    sections = (config.train_data, config.eval_data)
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


def gates_as_vectors(networks: nn.Module) -> None:
    """Make every scalar parameter a vector of one number, which computes the same: FSDP takes no scalars."""
    for module in networks.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter.ndim == 0:
                setattr(module, name, nn.Parameter(parameter.data.reshape(1), parameter.requires_grad))


def whole(tensor: Tensor) -> Tensor:
    """Under FSDP parameters, and what is computed of them, are divided among the processes."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
