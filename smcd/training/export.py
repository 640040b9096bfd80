"""A checkpoint as a whole model: a pipeline folder, or published files."""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import ModelMixin

from smcd.config import ExportConfig, TrainConfig, read_config
from smcd.convert.folders import cast
from smcd.convert.published import warn_of_left_out, write_published
from smcd.runtime.errors import InputError
from smcd.runtime.files import new_folder, read_json, write_json
from smcd.runtime.hashes import file_hash
from smcd.training import checkpoint
from smcd.training.trained_networks import load_checkpoint

logger = logging.getLogger(__name__)


def export_checkpoint(config: ExportConfig) -> None:
    """`smcd export`: a training checkpoint to a pipeline folder or to published files."""
    dtype = getattr(torch, config.dtype)
    export(Path(config.checkpoint), Path(config.out), config.published, config.ema, config.overrides, dtype)
    print(f"wrote {config.out}")


def export(
    source: Path,
    out: Path,
    published: bool = False,
    ema: bool = True,
    overrides: Sequence[str] = (),
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a checkpoint as a pipeline folder with weights of `dtype` (PositionNet's: float32), or as published files.

    Args:
        source: a folder checkpoint-N, or a run's folder, whose latest checkpoint is taken.
        ema, overrides: see `load_checkpoint`.

    Raises:
        InputError: `source` is not a checkpoint, `out` exists or cannot be written; nothing is written then.
    """
    found = checkpoint.find(source)
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
        warn_of_left_out(out, pipe, read_config(TrainConfig, found / checkpoint.CONFIG).train_text_encoder)


def export_finished(folder: Path, ema: bool) -> None:
    """Write the model of a run's latest checkpoint, with `ema` its running average, as `pipeline/` in its folder."""
    out, source = folder / "pipeline", checkpoint.latest_in(folder)
    if source is None:
        return
    marker = out / "training.json"
    made_from = {
        "checkpoint": source.name,
        "sha256": file_hash(source / (checkpoint.EMA if ema else checkpoint.TRAINED)),
    }
    if marker.is_file() and read_json(marker) == made_from:
        return
    new = out.with_name(".checkpoint-new-pipeline.partial")
    export(source, new)
    write_json(new / marker.name, made_from)
    if out.exists():
        checkpoint.discard(out)
    new.rename(out)
    logger.info(f"wrote {out}")
