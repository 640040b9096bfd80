"""Checks of a training config, and which of its options the result depends on."""

import dataclasses
import logging
import math
from pathlib import Path
from typing import Any

from smcd.config import TrainConfig, check_choices, check_sampling
from smcd.runtime.built_in import BUILT_IN
from smcd.runtime.errors import InputError
from smcd.sprites.layouts import make_world
from smcd.training import checkpoint

logger = logging.getLogger(__name__)

# Options that do not change what is learned; with their sections.
_FREE = {
    *("output_dir", "num_workers", "gradient_checkpointing", "enable_xformers_memory_efficient_attention"),
    *("checkpointing_steps", "checkpoints_total_limit", "resume_from_checkpoint", "logging_steps"),
    *("validation_steps", "validation_clips", "validation_videos", "val_batch_size", "validation_data", "eval_data"),
    *("report_to", "use_wandb", "tracker"),
    # Where the data lie, cached or not, and what is done with broken ones.
    *(f"train_data.{name}" for name in ("path", "data_path", "latents", "phrase_embeddings", "on_error")),
    # These only in what they come to: see `result_settings`.
    *("train_batch_size", "gradient_accumulation_steps", "learning_rate", "scale_lr", "max_train_steps"),
    *("stage", "train_grounding", "cross_vision", "cat_init", "use_image_dataset"),
}
_PATHS = ("pretrained_model_path", "root_path", "tokenizer", "pretrained_weight_path", "tune_from_ckpt_path")
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
    if not 0 <= config.adam_weight_decay < math.inf:
        raise InputError(f"adam_weight_decay is {config.adam_weight_decay}; it must be at least 0")


def resolved(config: TrainConfig) -> TrainConfig:
    """The config with its folders as absolute paths, so that a checkpoint finds them from anywhere."""
    changes: dict[str, Any] = {}
    for name in _PATHS:
        value = getattr(config, name)
        if value is not None and value not in BUILT_IN and Path(value).expanduser().exists():
            changes[name] = str(Path(value).expanduser().resolve())
    if "tune_from_ckpt_path" in changes:
        latest = checkpoint.latest_in(Path(changes["tune_from_ckpt_path"]))
        if latest is not None:  # this one, also when that run has gone on
            changes["tune_from_ckpt_path"] = str(latest)
            logger.info(f"starting from {latest}")
    for section in ("train_data", "eval_data"):
        data = getattr(config, section)
        folders = {name: getattr(data, name) for name in ("path", "data_path", "latents")}
        found = {name: str(Path(value).expanduser().resolve()) for name, value in folders.items() if value}
        changes[section] = dataclasses.replace(data, **found)
    return dataclasses.replace(config, **changes)


def global_batch(config: TrainConfig, num_processes: int) -> int:
    """Clips of one step."""
    return config.train_batch_size * config.gradient_accumulation_steps * num_processes


def learning_rate(config: TrainConfig, num_processes: int) -> float:
    """The rate after `scale_lr`."""
    return config.learning_rate * (global_batch(config, num_processes) if config.scale_lr else 1)


def result_settings(config: TrainConfig, paths: dict[str, Any], num_processes: int) -> dict[str, Any]:
    """What the result depends on, by option; `paths` say which stage it is.

    Not how a step's clips are divided among processes and micro-batches: only how many they are.
    """
    settings = _flat(dataclasses.asdict(config))
    settings = {name: value for name, value in settings.items() if not {name, name.partition(".")[0]} & _FREE}
    settings |= paths
    world = make_world(settings.pop("train_data.sprites_world").split())  # by what it is, not by its name
    if "sprites" in config.train_data.datasets:
        settings |= _flat(world.description(), "train_data.sprites_world.")
    settings["learning_rate"] = learning_rate(config, num_processes)
    settings["clips of a step"] = global_batch(config, num_processes)
    if config.lr_scheduler not in ("constant", "constant_with_warmup"):
        settings["max_train_steps"] = config.max_train_steps
    return settings


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def check_frozen(checkpoint: Path, then: str | None, now: str | None) -> None:
    """Raise an InputError where what a checkpoint trained beside, by its hash, is not what is there now."""
    if then is not None and then != now:
        raise InputError(
            f"{checkpoint}: the weights that it started from, named in its config.yaml, are others now (or drawn "
            "otherwise by another version of torch): put them back, or tell scripts/export.py where they are "
            "(OPTION=PATH)"
        )


def check_same(checkpoint: Path, then: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise an InputError that lists the settings in which a checkpoint differs from this run."""
    sets = "train_data.dataset_names."  # these come and go; an option that is only on one side is of another version
    names = (then.keys() & now.keys()) | {name for name in then.keys() ^ now.keys() if name.startswith(sets)}
    different = [
        f"{name} {then.get(name)!r} there, {now.get(name)!r} here"
        for name in sorted(names)
        if then.get(name) != now.get(name)
    ]
    if different:
        raise InputError(
            f"{checkpoint}: is from a run with other settings: {'; '.join(different)}. Use the same ones, another "
            "--output_dir, or start from its weights with --tune_from_ckpt_path"
        )
