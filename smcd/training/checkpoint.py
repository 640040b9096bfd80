"""Checkpoints: what trains and the state of training, written whole or not at all.

`checkpoint-N/`, N steps done:

    trained.safetensors   what trains, float32, by its names in `TrainedNetworks`
    ema.safetensors       its running average, with --use_ema
    state.pt              optimizer, schedule, scaler, running average's counters, random state of every process
    config.yaml           the resolved config, from which the frozen weights are found again
    checkpoint.json       step, what the result depends on, hashes of the files above, of the frozen weights and of the
                          data's annotations, sizes of the datasets, versions
"""

import json
import platform
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import accelerate
import diffusers
import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

import smcd
from smcd.config import yaml_text
from smcd.runtime.errors import InputError, first_line
from smcd.runtime.files import new_file, new_folder, write_json
from smcd.runtime.hashes import file_hash

TRAINED, EMA, STATE = "trained.safetensors", "ema.safetensors", "state.pt"
CONFIG, INFO, SHARDS = "config.yaml", "checkpoint.json", "shards"
_NEWER = ("clips", "data", "sha256")  # which checkpoints of older versions lack


@dataclass
class Content:
    """What a checkpoint holds."""

    step: int  # steps done
    trained: dict[str, Tensor]
    ema: dict[str, Tensor] | None = None  # the running average of what trains
    state: dict[str, Any] = field(default_factory=dict)  # what `torch.load(weights_only=True)` reads
    options: dict[str, Any] = field(default_factory=dict)  # the resolved config
    settings: dict[str, Any] = field(default_factory=dict)  # what the result depends on, by option
    frozen: str | None = None  # hash of the weights that do not train; None if an older version wrote the checkpoint
    clips: dict[str, int] = field(default_factory=dict)  # how many clips each dataset has that it trains on
    data: dict[str, str] = field(default_factory=dict)  # `ClipSource.fingerprint` of each
    sha256: dict[str, str] = field(default_factory=dict)  # of the files, by name


def write(folder: Path, content: Content, shards: Path | None = None) -> Path:
    """Write `folder/checkpoint-N`, whole or not at all.

    Args:
        shards: a folder beside it that becomes its `shards/` (the files that DeepSpeed writes).

    Raises:
        InputError: it cannot be written, or exists.
    """
    out = folder / f"checkpoint-{content.step}"
    with new_folder(out) as target:
        for name, tensors in ((TRAINED, content.trained), (EMA, content.ema)):
            if tensors is not None:
                save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, target / name)
        try:
            torch.save(content.state, target / STATE)
        except RuntimeError as error:  # what torch makes of a full disk
            raise OSError(f"{STATE}: {first_line(error)}") from None
        if shards is not None:
            shards.rename(target / SHARDS)
        write_options(target / CONFIG, content.options)
        info = {name: getattr(content, name) for name in ("step", "settings", "frozen", "clips", "data")}
        files = [path for path in sorted(target.rglob("*")) if path.is_file() and path.name != CONFIG]
        info["sha256"] = {path.relative_to(target).as_posix(): file_hash(path) for path in files}
        write_json(target / INFO, info | {"versions": versions()}, indent=1)
    return out


def write_options(path: Path, options: dict[str, Any]) -> None:
    """Write the options as a YAML file that `--config` takes, whole or not at all."""
    with new_file(path) as temporary:
        temporary.write_text(yaml_text(options), encoding="utf-8")


def versions() -> dict[str, str]:
    """Versions and the device that a result may depend on."""
    found = {module.__name__: module.__version__ for module in (smcd, torch, diffusers, transformers, accelerate)}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    return {**found, "python": platform.python_version(), "device": device}


def read(path: Path) -> Content:
    """Everything of a checkpoint that resuming needs. Raises an InputError for a folder that is none, or is broken."""
    info = read_info(path)
    check_files(path, *info["sha256"])
    try:
        state = torch.load(path / STATE, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken file can make the unpickler raise anything
        raise InputError(f"{path / STATE}: cannot be read ({first_line(error)})") from None
    ema = read_tensors(path / EMA) if (path / EMA).is_file() else None
    return Content(trained=read_tensors(path / TRAINED), ema=ema, state=state, **info)


def read_info(path: Path) -> dict[str, Any]:
    """What `checkpoint.json` says, named as in `Content`; of older ones some is empty."""
    try:
        info = json.loads((path / INFO).read_text(encoding="utf-8"))
        found = {"step": int(info["step"]), "settings": dict(info["settings"])}
        return found | {"frozen": info.get("frozen")} | {key: dict(info.get(key, {})) for key in _NEWER}
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise InputError(f"{path}: is not a checkpoint of this program ({first_line(error)})") from None


def check_files(path: Path, *names: str) -> None:
    """Raise an InputError for one of these files of a checkpoint that is missing, or not as it was written."""
    hashes = read_info(path)["sha256"]
    for name in names:
        try:
            whole = name not in hashes or file_hash(path / name) == hashes[name]
        except OSError as error:
            raise InputError(f"{path / name}: cannot be read ({error.strerror})") from None
        if not whole:
            raise InputError(
                f"{path / name}: is damaged, for its content has changed since it was written. Delete {path.name}, and "
                "the same command goes on from the checkpoint before it"
            )


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Named tensors of a safetensors file."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read ({first_line(error)})") from None


def check_frozen(path: Path, then: str | None, now: str) -> None:
    """Raise an InputError unless the frozen weights, known by hash, are those that the checkpoint trained with."""
    if then is not None and then != now:
        raise InputError(
            f"{path}: the weights that it started from, named in its config.yaml, are others now (or drawn otherwise "
            "by another version of torch): put them back, or tell smcd export where they are (OPTION=PATH)"
        )


def find(path: Path) -> Path | None:
    """The checkpoint at `path`, or the latest one of a run's folder; None if there is none."""
    return path if (path / INFO).is_file() else latest_in(path)


def all_in(folder: Path) -> list[Path]:
    """The checkpoints of an output folder, the latest last; published folders of such names are none."""
    named = {path: path.name.removeprefix("checkpoint-") for path in folder.glob("checkpoint-*")}
    found = [path for path, step in named.items() if step.isdecimal() and (path / INFO).is_file()]
    return sorted(found, key=lambda path: int(named[path]))


def latest_in(folder: Path) -> Path | None:
    """The latest checkpoint of an output folder, or None."""
    return next(reversed(all_in(folder)), None)


def discard(path: Path) -> None:
    """Delete a folder: its name goes first, so that none is ever there in part."""
    doomed = path.with_name(f".checkpoint-{path.name}.partial")
    shutil.rmtree(doomed, ignore_errors=True)
    path.rename(doomed)
    shutil.rmtree(doomed)


def remove_partial(folder: Path) -> None:
    """Delete what a killed run left half-written."""
    for path in (*folder.glob(".*.partial*"), *folder.glob("validation/.*.partial")):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
