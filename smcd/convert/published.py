"""Folders of published files: finding, reading and writing them."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from smcd.convert.names import StateDict, from_published, to_published
from smcd.convert.weight_files import PUBLISHED_FILES, load_tensors
from smcd.guidance import Guidance
from smcd.parts import FULL_SIZE
from smcd.pipeline import SMCDPipeline
from smcd.runtime.errors import InputError, first_line
from smcd.schedulers import make_scheduler

logger = logging.getLogger(__name__)

_COMPONENTS = {"unet": "unet", "position_net": "position_net", "visual_encoder": "image_encoder"}  # in a pipeline


def published_folder(folder: Path) -> Path:
    """The one folder at or below `folder` that holds a published UNet; an InputError for none, or several."""
    name = PUBLISHED_FILES["unet"]
    found = [folder] if (folder / name).is_file() else sorted(path.parent for path in folder.rglob(name))
    if not found and (folder / "model_index.json").is_file():
        raise InputError(f"{folder}: is a pipeline folder already (--to_published makes published files of it)")
    if not found:
        raise InputError(f"{folder}: neither model_index.json (a pipeline) nor {name} (published weights) is in it")
    if len(found) > 1:
        raise InputError(f"{folder}: several checkpoints, choose one: {', '.join(map(str, found))}")
    return found[0]


def read_published(folder: Path, dtype: torch.dtype, base_unet: str | None = None) -> dict[str, StateDict]:
    """The tensors of each file that is there, in `dtype` (PositionNet's: float32), by part and published name.

    `base_unet` is a file with the tensors that the UNet's file lacks.
    """
    parts = {
        part: load_tensors(folder / file, dtype=torch.float32 if part == "position_net" else dtype)
        for part, file in PUBLISHED_FILES.items()
        if (folder / file).is_file()
    }
    if base_unet is not None:
        parts["unet"] = read_unet(Path(base_unet).expanduser(), dtype, published=True) | parts["unet"]
    return parts


def read_unet(path: Path, dtype: torch.dtype = torch.float32, published: bool = False) -> StateDict:
    """The tensors of a UNet's file, which may have either names, by this project's or the published names."""
    tensors = load_tensors(path, dtype=dtype)
    if published != ("conv_in.weight" in tensors):
        return tensors
    rename = to_published if published else from_published
    try:
        return rename({"unet": tensors})["unet"]
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def write_published(components: Mapping[str, Any], target: Path) -> None:
    """Write published files of a pipeline's networks (those that are not None) into a folder."""
    for part, name in _COMPONENTS.items():
        if (network := components[name]) is not None:
            tensors = to_published({part: network.state_dict()})[part]
            try:
                torch.save(tensors, target / PUBLISHED_FILES[part])
            except RuntimeError as error:  # torch raises it for a full disk
                raise OSError(first_line(error)) from None


def warn_of_left_out(out: Path, pipe: SMCDPipeline, text_encoder: bool = False) -> None:
    """Log what published files have no place for, such as a `text_encoder` that trained, if it is not as published."""
    own = pipe.config
    if pipe.unet.config.image_concat_first_only:
        reason = "do not say that the image goes to the first frame alone (only_cat_first_frame)"
        logger.warning(f"{out}: published files {reason}: keep the pipeline folder")
    left_out = ["the text encoder that trained"] if text_encoder else []
    if not torch.equal(pipe.scheduler.alphas_cumprod, make_scheduler().alphas_cumprod):
        left_out.append("the noise schedule")
    if (own.frame_height, own.frame_width) != (FULL_SIZE, FULL_SIZE):
        left_out.append(f"the size of {own.frame_height} x {own.frame_width}")
    if own.guidance_scale != Guidance.text:
        left_out.append(f"the guidance scale {own.guidance_scale:g}")
    if left_out:
        fix = "give a pipeline folder of this model as their base, --pretrained_model_path FOLDER"
        logger.warning(f"{out}: published files have no place for {', '.join(left_out)}: {fix}")
