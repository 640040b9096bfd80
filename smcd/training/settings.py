"""Bounds of the training options."""

import math
from pathlib import Path

from smcd.config import TrainConfig, check_choices, check_sampling
from smcd.runtime.errors import InputError

_LARGEST = 2**31


def check_config(config: TrainConfig) -> None:
    """Raise an InputError for an option that cannot be."""
    check_choices(config)
    if not config.output_dir.strip():
        raise InputError("output_dir is empty: name a folder (is a variable of your shell not set?)")
    positive = ("max_train_steps", "train_batch_size", "gradient_accumulation_steps", "checkpointing_steps")
    for name in (*positive, "val_batch_size", "logging_steps"):
        if not 1 <= getattr(config, name) < _LARGEST:
            raise InputError(f"{name} is {getattr(config, name)}; it must be at least 1")
    counts = ("num_workers", "lr_warmup_steps", "checkpoints_total_limit", "validation_steps", "validation_clips")
    for name in (*counts, "validation_videos", "seed"):
        if not 0 <= getattr(config, name) < _LARGEST:
            raise InputError(f"{name} is {getattr(config, name)}; it must be at least 0")
    for name in ("learning_rate", "max_grad_norm", "adam_epsilon"):
        if not 0 < getattr(config, name) < math.inf:
            raise InputError(f"{name} is {getattr(config, name)}; it must be above 0")
    for name in ("adam_beta1", "adam_beta2", "ema_decay"):
        if not 0 <= getattr(config, name) < 1:
            raise InputError(f"{name} is {getattr(config, name)}; it must be from 0 to below 1")
    if config.lr_warmup_steps and config.lr_scheduler == "constant":
        raise InputError("lr_warmup_steps needs --lr_scheduler constant_with_warmup, or another one that warms up")
    if Path(config.output_dir).is_file():
        raise InputError(f"{config.output_dir}: is a file; choose another --output_dir")
    if not math.isfinite(config.gate_init):
        raise InputError(f"gate_init is {config.gate_init}; it must be a number")
    check_sampling(config.validation_data)
    for name in ("adam_weight_decay", "snr_gamma"):
        if not 0 <= getattr(config, name) < math.inf:
            raise InputError(f"{name} is {getattr(config, name)}; it must be at least 0")
