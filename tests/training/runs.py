"""Training runs small enough to be started dozens of times."""

import json
import multiprocessing
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from smcd.config import DataConfig, SamplingConfig, TrainConfig
from smcd.training.loop import train

SPRITES = {"datasets": ["sprites"], "sprites_clips": 20, "width": 32, "height": 32, "num_max_obj": 2, "start": "0"}


def config(out: Path, **changes: Any) -> TrainConfig:
    """12 steps of stage 2 on 2 frames of 32 x 32 pixels, from the tiny model; `train_data` etc. may be changed too."""
    values = {
        "output_dir": str(out),
        "stage": "2",
        "use_img_free_guidance": True,
        "max_train_steps": 12,
        "train_batch_size": 2,
        "learning_rate": 1e-3,
        "num_workers": 0,
        "checkpointing_steps": 4,
        "logging_steps": 1,
        "validation_clips": 3,
        "val_batch_size": 2,
        "validation_videos": 1,
        "validation_data": SamplingConfig(2, 32, 32, 2),
        "train_data": DataConfig(n_sample_frames=2, **SPRITES),
        "eval_data": DataConfig(n_sample_frames=2, sprites_seed=1, **SPRITES),
    }
    return TrainConfig(**{**values, **changes})


def run(settings: TrainConfig, dry_run: bool = False) -> Path:
    """Train in this process; returns the output folder."""
    AcceleratorState._reset_state(True)
    try:
        train(replace(settings, dry_run=dry_run))
    finally:
        AcceleratorState._reset_state(True)
    return Path(settings.output_dir)


def start(target: Callable[..., Any], *arguments: Any, **environment: str) -> multiprocessing.Process:
    """Run in a process of its own that need not import torch again; an exception is exit code 1."""
    process = multiprocessing.get_context("fork").Process(target=_child, args=(target, arguments, environment))
    process.start()
    return process


def _child(target: Callable[..., Any], arguments: tuple, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    AcceleratorState._reset_state(True)
    target(*arguments)


def start_processes(settings: TrainConfig, count: int) -> list[Any]:
    """Train with several gloo processes, as accelerate launch sets them up."""
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "ACCELERATE_USE_CPU": "true"}
    common["WORLD_SIZE"] = str(count)
    return [
        start(train, settings, RANK=str(rank), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(count), **common)
        for rank in range(count)
    ]


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def run_processes(settings: TrainConfig, count: int) -> None:
    """The same, to the end."""
    assert exit_codes(start_processes(settings, count)) == [0] * count


def exit_codes(processes: list[Any]) -> list[int | None]:
    """How processes ended; None for one that did not."""
    for process in processes:
        process.join(300)
    return [process.exitcode for process in processes]


def metrics(out: Path, key: str = "loss") -> dict[int, float]:
    """The logged numbers of this name, by step."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line[key] for line in lines if key in line}


def assert_same_checkpoint(one: Path, other: Path) -> None:
    """Bitwise equal weights, optimizer state and all else that is kept."""
    for name in ("trained.safetensors", "ema.safetensors"):
        assert (one / name).is_file() == (other / name).is_file()
        if (one / name).is_file():
            _assert_equal(load_file(one / name), load_file(other / name), name)
    states = [torch.load(path / "state.pt", weights_only=True) for path in (one, other)]
    assert states[0]["optimizer"]["state"]
    _assert_equal(*states, "state")


def _assert_equal(one: Any, other: Any, where: str) -> None:
    assert type(one) is type(other), where
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype, where
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            _assert_equal(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for index, pair in enumerate(zip(one, other, strict=True)):
            _assert_equal(*pair, f"{where}[{index}]")
    else:
        assert one == other, where
