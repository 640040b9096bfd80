"""Folders of weights: a published folder with its base <-> a pipeline folder."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from transformers import CLIPTextModel

from smcd.convert.base import Base, load_model, load_tokenizer
from smcd.convert.files import PUBLISHED_FILES, load_tensors, local_folder
from smcd.convert.names import to_published
from smcd.convert.networks import build_networks, check_widths
from smcd.diffusion import Guidance
from smcd.errors import InputError, first_line
from smcd.files import new_folder
from smcd.models import ImageEncoder, PositionNet, SMCDUNet3D
from smcd.pipeline import FULL_SIZE, SMCDPipeline

DEFAULT_BASE = "ali-vilab/text-to-video-ms-1.7b"

_NETWORKS: dict[str, tuple[Any, str]] = {  # part of a published checkpoint: class, and subfolder of a pipeline
    "unet": (SMCDUNet3D, "unet"),
    "position_net": (PositionNet, "position_net"),
    "visual_encoder": (ImageEncoder, "image_encoder"),
}


def load_pipeline(
    weights: str,
    base: str = DEFAULT_BASE,
    tokenizer: str | None = None,
    base_unet: str | None = None,
    dtype: torch.dtype = torch.float32,
    position_net: bool = True,
) -> SMCDPipeline:
    """A pipeline from trained weights of any form.

    Args:
        weights: a pipeline folder, a published folder (`pytorch_model.bin`, `_1`, `_2`), or a hub id of either.
        base: for a published folder: a text-to-video folder (diffusers or ModelScope layout) or hub id, which gives
            VAE, text encoder and tokenizer; a pipeline folder of this project gives its noise schedule too.
        tokenizer: folder or hub id; needed with a ModelScope base, which has none.
        base_unet: a file with the UNet tensors that the published folder lacks (`--pretrained_weight_path`).
        dtype: of everything but PositionNet, which stays float32.
        position_net: False takes a published folder that lacks PositionNet's file too.

    Raises:
        InputError: naming the file or tensors that do not fit, and the fix.
    """
    folder = local_folder(weights)
    if (folder / "model_index.json").is_file():
        if base_unet is not None:
            raise InputError(f"{weights}: a pipeline folder is complete; leave out --pretrained_weight_path")
        return _load_own(folder, dtype)
    published = _published_folder(folder)
    source = Base.find(base, tokenizer)
    parts: dict[str, Any] = dict(build_networks(_read_published(published, dtype, base_unet), position_net))
    parts |= {"vae": source.vae(), "text_encoder": source.text_encoder(), "tokenizer": source.tokenizer()}
    check_base(parts["unet"], parts["vae"], parts["text_encoder"], parts["tokenizer"])
    for part in parts.values():
        cast(part, dtype)
    return SMCDPipeline(**parts, scheduler=source.scheduler())


def convert(
    published: str, base: str, out: Path, tokenizer: str | None = None, dtype: torch.dtype = torch.float32
) -> None:
    """Write a pipeline folder from a published folder and its base, one part at a time.

    The published tensors are memory-mapped, and written as they are or cast; `out` appears when it is complete.

    Raises:
        InputError: `out` exists, or something does not fit, by name; nothing is written.
    """
    source = Base.find(base, tokenizer)
    parts: dict[str, Any] = dict(build_networks(_read_published(_published_folder(local_folder(published)), dtype)))
    parts |= {"vae": source.vae, "text_encoder": source.text_encoder, "tokenizer": source.tokenizer}
    parts["scheduler"] = source.scheduler()
    with new_folder(out) as folder:
        for name, part in parts.items():
            if part is None:
                continue
            if callable(part) and not isinstance(part, nn.Module):
                part = parts[name] = part()
            cast(part, dtype)
            part.save_pretrained(folder / name)
            if isinstance(part, nn.Module):
                part.to("meta")  # frees its memory before the next part is read
        check_base(parts["unet"], parts["vae"], parts["text_encoder"], parts["tokenizer"])
        SMCDPipeline(**parts).save_config(folder)


def export(pipeline: str, out: Path) -> None:
    """Write the networks of a pipeline folder (or hub id) as a published folder, float32.

    Raises:
        InputError: `out` exists, or the pipeline does not load; nothing is written.
    """
    folder = local_folder(pipeline)
    networks = _load_networks(folder, torch.float32)
    with new_folder(out) as target:
        write_published(networks, target)


def write_published(networks: Mapping[str, Any], target: Path) -> None:
    """Write published files of the networks (`unet`, `position_net`, `image_encoder`; or None) into a folder."""
    for part, (_, subfolder) in _NETWORKS.items():
        if (network := networks[subfolder]) is not None:
            tensors = to_published({part: network.state_dict()})[part]
            try:
                torch.save(tensors, target / PUBLISHED_FILES[part])
            except RuntimeError as error:  # what torch makes of a full disk
                raise OSError(first_line(error)) from None


def sampling_defaults(weights: str) -> dict[str, Any]:
    """`height` and `width` that trained weights (of any form) were trained with, and their text `guidance_scale`.

    Raises:
        InputError: no such folder.
    """
    index = local_folder(weights) / "model_index.json"
    try:
        given = {name: value for name, value in json.loads(index.read_text()).items() if value is not None}
    except (OSError, ValueError, AttributeError):  # published weights; or broken ones, of which loading tells more
        given = {}
    return {
        "height": given.get("frame_height", FULL_SIZE),
        "width": given.get("frame_width", FULL_SIZE),
        "guidance_scale": given.get("guidance_scale", Guidance.text),
    }


def check_base(unet: SMCDUNet3D, vae: Any, text_encoder: Any, tokenizer: Any) -> None:
    """Raise an InputError where a base does not fit the networks."""
    for what, found, expected in (
        ("text encoder", text_encoder.config.hidden_size, unet.config.cross_attention_dim),
        ("VAE", vae.config.latent_channels, unet.config.in_channels),
    ):
        if found != expected:
            raise InputError(f"the base's {what} has {found} channels, but the trained UNet wants {expected}")
    if len(tokenizer) > text_encoder.config.vocab_size:
        words = text_encoder.config.vocab_size
        raise InputError(
            f"the tokenizer has {len(tokenizer)} words, the text encoder {words}: name another --tokenizer"
        )


def cast(part: Any, dtype: torch.dtype) -> None:
    """Change the weights of a pipeline's part to `dtype`; PositionNet's stay as they are, in float32."""
    if isinstance(part, nn.Module) and not isinstance(part, PositionNet):
        nn.Module.to(part, dtype)  # not diffusers' `to`, which warns of float32 modules where there are none


def _load_own(folder: Path, dtype: torch.dtype) -> SMCDPipeline:
    parts = _load_networks(folder, dtype)
    parts["vae"] = load_model(AutoencoderKL, folder, "vae", dtype=dtype)
    parts["text_encoder"] = load_model(CLIPTextModel, folder, "text_encoder", dtype=dtype)
    parts["tokenizer"] = load_tokenizer(folder)
    check_base(parts["unet"], parts["vae"], parts["text_encoder"], parts["tokenizer"])
    try:
        return SMCDPipeline.from_pretrained(folder, dtype=dtype, **parts)
    except Exception as error:  # whatever a broken file makes of the libraries
        raise InputError(f"{folder}: cannot be loaded as a pipeline: {first_line(error)}") from error


def _load_networks(folder: Path, dtype: torch.dtype) -> dict[str, Any]:
    """The three networks of a pipeline folder, by their names there; None where the pipeline has none.

    Raises:
        InputError: another kind of folder; tensors that are missing, unknown or of another shape; networks that do
            not belong together.
    """
    try:
        kind = SMCDPipeline.load_config(folder).get("_class_name")
    except Exception as error:
        raise InputError(f"{folder}: has no readable model_index.json: not a pipeline folder") from error
    if kind != "SMCDPipeline":
        raise InputError(
            f"{folder}: a {kind} folder; it can be the base (pretrained_model_path), but the trained weights of an "
            "SMCDPipeline are needed too"
        )
    networks: dict[str, Any] = {}
    for network, subfolder in _NETWORKS.values():
        networks[subfolder] = (
            load_model(network, folder, subfolder, dtype=dtype) if (folder / subfolder).is_dir() else None
        )
    unet = networks["unet"]
    if unet is None:
        raise InputError(f"{folder}: has no unet/")
    for part, gate in (("position_net", "object_gate"), ("image_encoder", "image_gate")):
        if unet.config[gate] and networks[part] is None:
            raise InputError(f"{folder}: its UNet has an {gate.replace('_', ' ')}, but there is no {part}/")
    check_widths(unet, networks["position_net"], networks["image_encoder"])
    return networks


def _published_folder(folder: Path) -> Path:
    """The one folder at or below `folder` that holds a published UNet."""
    name = PUBLISHED_FILES["unet"]
    found = [folder] if (folder / name).is_file() else sorted(path.parent for path in folder.rglob(name))
    if not found and (folder / "model_index.json").is_file():
        raise InputError(f"{folder}: is a pipeline folder already (--to_published makes published files of it)")
    if not found:
        raise InputError(f"{folder}: neither model_index.json (a pipeline) nor {name} (published weights) is in it")
    if len(found) > 1:
        raise InputError(f"{folder}: several checkpoints, choose one: {', '.join(map(str, found))}")
    return found[0]


def _read_published(folder: Path, dtype: torch.dtype, base_unet: str | None = None) -> dict[str, dict[str, Tensor]]:
    dtypes = {"unet": dtype, "position_net": torch.float32, "visual_encoder": dtype}
    parts = {
        part: load_tensors(folder / file, dtype=dtypes[part])
        for part, file in PUBLISHED_FILES.items()
        if (folder / file).is_file()
    }
    if base_unet is not None:
        tensors = load_tensors(Path(base_unet).expanduser(), dtype=dtype)
        if "conv_in.weight" in tensors:  # diffusers' names
            try:
                tensors = to_published({"unet": tensors})["unet"]
            except ValueError as error:
                raise InputError(f"{base_unet}: {error}") from None
        parts["unet"] = tensors | parts["unet"]
    return parts
