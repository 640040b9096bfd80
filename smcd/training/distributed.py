"""The accelerator, and what FSDP and DeepSpeed need besides."""

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DeepSpeedPlugin, DistributedType, InitProcessGroupKwargs, ProjectConfiguration
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from smcd.runtime.errors import InputError

_PATIENCE = timedelta(hours=1)  # the processes wait while the main one makes sample videos and exports


def make_accelerator(
    out: str, precision: str, accumulation: int, batch_size: int, max_grad_norm: float, trackers: Sequence[Any]
) -> Accelerator:
    """The accelerator of this process, as accelerate launch set it up; `trackers` are names or tracker objects.

    Raises:
        InputError: DeepSpeed with fp16.
    """
    deepspeed = os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true"  # set by accelerate launch
    if deepspeed and precision == "fp16":
        raise InputError("under DeepSpeed use --mixed_precision bf16 (or no): it would keep all weights in fp16")
    accelerator = Accelerator(
        cpu=not torch.accelerator.is_available(),
        # DeepSpeed would cast all weights, PositionNet's too: there the run does the autocast itself.
        mixed_precision="no" if deepspeed else precision,
        gradient_accumulation_steps=accumulation,
        log_with=list(trackers) or None,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=_PATIENCE)],
        project_config=ProjectConfiguration(project_dir=out, logging_dir=f"{out}/logs"),
    )
    if accelerator.distributed_type == DistributedType.FSDP:
        # Autocast gives the precision; FSDP's policy would round boxes, on which PositionNet depends.
        accelerator.state.fsdp_plugin.mixed_precision_policy = None
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        set_deepspeed(accelerator.state.deepspeed_plugin, batch_size, max_grad_norm)
    return accelerator


def set_deepspeed(plugin: DeepSpeedPlugin, batch_size: int, max_grad_norm: float) -> None:
    """Give DeepSpeed what it has to know besides its own config."""
    plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = batch_size
    plugin.deepspeed_config["gradient_clipping"] = max_grad_norm


def gates_as_vectors(networks: nn.Module) -> None:
    """Make every scalar parameter a vector of one number: it computes the same, and FSDP and DeepSpeed take it."""
    for module in networks.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter.ndim == 0:
                setattr(module, name, nn.Parameter(parameter.data.reshape(1), parameter.requires_grad))


def whole(tensor: Tensor) -> Tensor:
    """The whole tensor: FSDP divides parameters, and what is computed from them, among the processes."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
