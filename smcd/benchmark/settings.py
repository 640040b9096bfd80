"""A benchmark's config, checked and complete."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from smcd.config import BenchmarkConfig, check_choices, check_compile_mode
from smcd.guidance import Guidance
from smcd.runtime.errors import InputError

_MULTIPLE = {"full": 64, "tiny": 16}  # pixels
_POSITIVE = ("steps", "frames", "pixels", "objects", "batch", "branches", "repeats")
_NEEDS = {  # option: the works that it belongs to
    "vs": ("call", "profile", "clip"),
    "sweep": ("call",),
    "low_memory": ("call", "clip"),
    "gradient_checkpointing": ("train",),
}


@dataclass(frozen=True)
class Settings:
    """A config with what follows from it."""

    config: BenchmarkConfig
    device: torch.device
    dtype: torch.dtype
    base_dtype: torch.dtype
    size: str
    channels_last: bool
    base_channels_last: bool

    @property
    def guidance(self) -> Guidance:
        """With as many branches as asked for."""
        more = (float(self.config.branches > n) for n in (2, 3, 4))
        return Guidance(7.5 if self.config.branches > 1 else 1.0, *more)

    def having(self, **changes: Any) -> "Settings":
        """The same with other sizes."""
        return replace(self, config=replace(self.config, **changes))


def settle(config: BenchmarkConfig) -> Settings:
    """Raises an InputError for an option that cannot be."""
    check_choices(config)
    for name in _POSITIVE:
        if getattr(config, name) < 1:
            raise InputError(f"{name} is {getattr(config, name)}; it must be at least 1")
    for name, works in _NEEDS.items():
        if getattr(config, name) and config.what not in works:
            raise InputError(f"--{name} goes with --what {' or '.join(works)}, not with {config.what}")
    if config.sweep and config.vs:
        raise InputError("--sweep measures this UNet alone: leave out --vs")
    if config.vs and config.branches > 2:
        raise InputError("diffusers' base has two branches, null text and text: with --vs give --branches 1 or 2")
    check_compile_mode(config.compile, config.compile_mode)
    if config.what == "profile" and (config.compile or config.picture):
        raise InputError("--what profile names operations, in a table: leave out --compile and --picture")
    if config.branches > 5:
        raise InputError(f"branches is {config.branches}; there are at most 5")
    for name in ("json", "picture"):
        path = getattr(config, name)
        if path is not None and not Path(path).absolute().parent.is_dir():
            raise InputError(f"{path}: no such folder")
    if config.picture is not None and Path(config.picture).suffix.lower() not in (".png", ".jpg"):
        raise InputError(f"{config.picture}: a picture is written as .png or .jpg")
    device = _device(config.device)
    size = config.size or ("tiny" if config.what in ("train", "precision") and device.type == "cpu" else "full")
    if config.pixels % _MULTIPLE[size]:
        raise InputError(f"pixels is {config.pixels}; it must be a multiple of {_MULTIPLE[size]}")
    if config.what == "train" and config.dtype == "float16" and device.type == "cpu":
        raise InputError("training in float16 needs a GPU: use --dtype bfloat16")
    channels_last = device.type == "cpu" if config.channels_last is None else config.channels_last
    return Settings(
        config,
        device,
        getattr(torch, config.dtype),
        getattr(torch, config.base_dtype or config.dtype),
        size,
        channels_last,
        channels_last if config.base_channels_last is None else config.base_channels_last,
    )


def _device(name: str | None) -> torch.device:
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError:
        raise InputError(f"device is {name!r}; give cpu, cuda, cuda:1, ...") from None
    if device.type not in ("cpu", "cuda") or (device.type == "cuda" and not torch.cuda.is_available()):
        raise InputError(f"device {name}: there is none here that torch can use")
    return device
