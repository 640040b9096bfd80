"""Sprites in the layouts of GOT-10k and YouTube-VIS, and small evaluations of them."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from smcd.config import EvaluationConfig, EvaluationDataConfig, SamplingConfig
from smcd.sprites.layouts import make_world, write_got10k, write_youtube_vis

SEQUENCES, VIDEOS = 5, 12
WORLD = make_world(["motions=[line,visit]", "objects=[1,3]"])


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """got10k/val and youvis/train; do not change it."""
    path = tmp_path_factory.mktemp("data")
    write_got10k(path, range(SEQUENCES), 3, 9, 48, WORLD, "val")
    write_youtube_vis(path, range(VIDEOS), 3, 9, 48, WORLD)
    return path


@pytest.fixture
def config(data, tmp_path) -> Callable[..., EvaluationConfig]:
    """A quick evaluation of GOT-10k, with changes."""

    def make(out: str = "out", video_length: int = 3, steps: int = 2, **changes: Any) -> EvaluationConfig:
        section = {name: changes.pop(name) for name in [*changes] if name in _DATA_OPTIONS}
        settings = {
            "dataset": "got10k",
            "eval_data": EvaluationDataConfig(**{"path": str(data), **section}),
            "validation_data": SamplingConfig(video_length, 32, 32, steps, 7.5),
            "output_dir": str(tmp_path / out),
            "clip": "none",
            "dino": "none",
            "tracker": "none",
            "num_workers": 2,
        }
        return EvaluationConfig(**{**settings, **changes})

    return make


_DATA_OPTIONS = {field.name for field in dataclasses.fields(EvaluationDataConfig)}
