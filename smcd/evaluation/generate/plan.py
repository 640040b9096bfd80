"""The config of an evaluation: checked, completed, and compared with that of the run which is gone on with."""

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from smcd.config import EvaluationConfig, check_choices, load_config
from smcd.runtime.errors import InputError
from smcd.sampler import check_model_config, with_defaults

_FREE = {  # may change from run to run: the manifest tells of the data, and the rest does not touch the videos
    *("dataset", "eval_data", "max_clips", "output_dir", "num_workers", "seed", "seeds", "weights_sha256"),
    *("report", "tracker", "sam2", "clip", "dino", "fvd_weights", "train_grounding", "cross_vision", "cat_init"),
    "preset",
}


def complete(config: EvaluationConfig) -> EvaluationConfig:
    """The config with its dataset and seeds spelled out.

    Raises:
        InputError: options that make no sense, or contradict each other.
    """
    check_choices(config)
    check_model_config(config)
    config = with_defaults(config)
    if config.validation_data.video_length < 2:
        raise InputError("video_length is 1; an evaluation needs videos of at least 2 frames")
    _check_sizes(config)
    for name, low, high in (
        ("batch_size", 1, 10_000),
        ("num_workers", 0, 256),
        ("max_clips", 0, 10**9),
        ("fps", 0.1, 50),
        ("eval_data.start", 0, 10**9),
        ("eval_data.stride", 1, 10**6),
        ("eval_data.num_max_obj", 1, 1000),
        ("eval_data.sprites_clips", 1, 10**6),
        ("eval_data.sprites_seed", 0, 2**63 - 1),
    ):
        owner = config.eval_data if "." in name else config
        value = getattr(owner, name.rpartition(".")[2])
        if not low <= value <= high:
            raise InputError(f"{name} is {value}; it must be from {low} to {high}")
    if not config.output_dir.strip():
        raise InputError("output_dir is empty: name a folder (is a variable of your shell not set?)")
    seeds = config.seeds or [config.seed]
    if len(set(seeds)) < len(seeds) or not all(0 <= seed < 2**63 for seed in seeds):
        raise InputError(f"seeds are {_listed(seeds)}; give different whole numbers from 0 on")
    return replace(config, dataset=_dataset(config), seeds=seeds)


def _check_sizes(config: EvaluationConfig) -> None:
    """`validation_data` counts; `eval_data` may repeat it, as the published files do, but not say otherwise."""
    data, videos = config.eval_data, config.validation_data
    for name, other in (("n_sample_frames", "video_length"), ("width", "width"), ("height", "height")):
        given, counts = getattr(data, name), getattr(videos, other)
        if given not in (0, counts):
            raise InputError(
                f"eval_data.{name} is {given}, but {other} is {counts}: the videos and the truth are of one size; "
                f"leave out eval_data.{name}"
            )


def _dataset(config: EvaluationConfig) -> str:
    """The dataset's name: --dataset, or the one of `eval_data`, or sprites."""
    if config.dataset is not None:
        return config.dataset
    named = config.eval_data.datasets
    if len(named) > 1:
        raise InputError(f"eval_data.datasets names {', '.join(named)}; choose one with --dataset")
    chosen = replace(config, dataset=named[0] if named else "sprites")
    check_choices(chosen)
    return str(chosen.dataset)


def read_settings(path: Path) -> EvaluationConfig:
    """The `config.yaml` of an earlier run. Raises an InputError where it is unreadable."""
    return load_config(EvaluationConfig, argparse.Namespace(config=str(path), overrides=[]))


def check_same(path: Path, earlier: EvaluationConfig, config: EvaluationConfig) -> None:
    """Raise an InputError where videos of this config would not belong with those of the earlier one, read from `path`.

    Seeds may only be added.
    """
    was, now = _flat(earlier), _flat(config)
    changed = [f"{name} is {now[name]} and was {was[name]}" for name in now if was[name] != now[name]]
    if lost := [seed for seed in earlier.seeds if seed not in config.seeds]:
        changed.append(f"seeds are {_listed(config.seeds)} and lack {_listed(lost)}")
    if changed:
        raise InputError(f"{path}: an earlier run had other settings: {'; '.join(changed)}: choose another output_dir")


def check_weights(expected: str | None, sha256: str, where: str) -> None:
    """Raise an InputError where weights have another hash than expected."""
    if expected not in (None, sha256):
        raise InputError(
            f"{where}: the weights should have the SHA-256 {str(expected)[:16]}..., but have {sha256[:16]}...: choose "
            "another output_dir, or the weights that were meant"
        )


def _flat(config: EvaluationConfig) -> dict[str, Any]:
    """The options that make a difference to the videos, by full name."""
    options: dict[str, Any] = {}
    for name, value in asdict(config).items():
        if name not in _FREE:
            options |= {f"{name}.{key}": v for key, v in value.items()} if isinstance(value, dict) else {name: value}
    return options


def _listed(seeds: list[int]) -> str:
    return ", ".join(map(str, seeds))
