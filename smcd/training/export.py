"""From a checkpoint to a whole model: what trained, over what it started from."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import ModelMixin

from smcd.config import TrainConfig, load_config
from smcd.convert.folders import cast
from smcd.convert.published import warn_of_left_out, write_published
from smcd.pipeline import SMCDPipeline
from smcd.runtime.errors import InputError
from smcd.runtime.files import new_folder
from smcd.training import checkpoint
from smcd.training.objective import TrainedNetworks
from smcd.training.settings import check_frozen
from smcd.training.stages import make_stage
from smcd.training.starting_weights import build_start, frozen_hash


def find_checkpoint(path: Path) -> Path | None:
    """The checkpoint at `path`, or the latest one of a run's folder; None where there is none."""
    if (path / checkpoint.INFO).is_file():
        return path
    return checkpoint.latest_in(path)


def load_checkpoint(path: Path, ema: bool = True, overrides: Sequence[str] = ()) -> SMCDPipeline:
    """The pipeline with a checkpoint's weights, float32.

    Args:
        ema: take the running average, if there is one.
        overrides: "option=value", for weights to start from that have moved since.

    Raises:
        InputError: a broken checkpoint, or one whose starting weights are not found, or are others by now.
    """
    config = load_config(TrainConfig, argparse.Namespace(config=path / checkpoint.CONFIG, overrides=list(overrides)))
    stage = make_stage(config)
    pipe, _ = build_start(config, stage)
    averaged = ema and (path / checkpoint.EMA).is_file()
    tensors = checkpoint.read_tensors(path / (checkpoint.EMA if averaged else checkpoint.TRAINED))
    networks = TrainedNetworks(pipe.unet, pipe.position_net, pipe.image_encoder, pipe.scheduler, pipe.text_encoder)
    own = networks.state_dict()
    wrong = [name for name, tensor in tensors.items() if name not in own or own[name].shape != tensor.shape]
    if wrong:
        raise InputError(f"{path}: {len(wrong)} tensors do not fit what it started from: {', '.join(wrong[:5])}")
    check_frozen(path, checkpoint.read_info(path)["frozen"], frozen_hash(pipe, tensors.keys()))
    networks.load_state_dict(tensors, strict=False)
    for network in (pipe.unet, pipe.position_net, pipe.image_encoder):
        if network is not None:
            network.eval()
    return pipe


def export(
    source: Path,
    out: Path,
    published: bool = False,
    ema: bool = True,
    overrides: Sequence[str] = (),
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a checkpoint as a pipeline folder with weights of `dtype` (PositionNet's: float32), or as published files.

    Raises:
        InputError: `source` is no checkpoint, `out` exists or cannot be written; nothing is written then.
    """
    found = find_checkpoint(source)
    if found is None:
        raise InputError(f"{source}: no checkpoint is there; name a folder checkpoint-N, or the output_dir of a run")
    pipe = load_checkpoint(found, ema, overrides)
    with new_folder(out) as folder:
        if published:
            write_published(pipe.components, folder)
        else:
            for part in pipe.components.values():
                cast(part, dtype)
                if isinstance(part, ModelMixin):
                    part.register_to_config(_name_or_path="")  # else a path of this machine
            pipe.save_pretrained(folder)
    if published:
        own = pipe.config
        trained = make_stage(load_config(TrainConfig, argparse.Namespace(config=found / checkpoint.CONFIG)))
        size = (own.frame_height, own.frame_width)
        warn_of_left_out(out, pipe.unet, pipe.scheduler, *size, own.guidance_scale, trained.text_encoder)
