"""Folders of weights: a published folder with its base <-> a pipeline folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from smcd.config import ConvertConfig
from smcd.convert.base import Base, is_own, load_model, own_defaults, pipeline_index
from smcd.convert.networks import build_networks, check_widths
from smcd.convert.published import published_folder, read_published, warn_of_left_out, write_published
from smcd.convert.weight_files import local_folder
from smcd.guidance import Guidance
from smcd.models import ImageEncoder, PositionNet, SMCDUNet3D
from smcd.parts import FULL_SIZE
from smcd.pipeline import SMCDPipeline
from smcd.runtime.errors import InputError
from smcd.runtime.files import check_new, new_folder

DEFAULT_BASE = "ali-vilab/text-to-video-ms-1.7b"

_NETWORKS: dict[str, Any] = {"unet": SMCDUNet3D, "position_net": PositionNet, "image_encoder": ImageEncoder}


def convert_weights(config: ConvertConfig) -> None:
    """Run `smcd convert`: a pipeline folder from published weights and their base, or the other way around."""
    if config.to_published:
        export(config.source, Path(config.out))
    else:
        convert(config.source, config.base, Path(config.out), config.tokenizer, getattr(torch, config.dtype))
    print(f"wrote {config.out}")


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
            VAE, text encoder and tokenizer; a pipeline folder of this project gives its noise schedule, frame size and
            guidance too.
        tokenizer: folder or hub id; needed with a ModelScope base, which has none.
        base_unet: a file with the UNet tensors that the published folder lacks (`--pretrained_weight_path`).
        dtype: the weights' type, except for PositionNet, which stays float32.
        position_net: False also takes a published folder without PositionNet's file.

    Raises an InputError naming the file or tensors that do not fit, and the fix.
    """
    folder = local_folder(weights)
    if (folder / "model_index.json").is_file():
        if base_unet is not None:
            raise InputError(f"{weights}: a pipeline folder is complete; leave out --pretrained_weight_path")
        return _load_own(folder, dtype)
    tensors = read_published(published_folder(folder), dtype, base_unet)
    return _assemble(build_networks(tensors, position_net), Base.find(base, tokenizer), dtype)


def convert(
    published: str, base: str, out: Path, tokenizer: str | None = None, dtype: torch.dtype = torch.float32
) -> None:
    """Write a pipeline folder from a published folder and its base; `out` appears when it is complete.

    Raises an InputError if `out` exists, or something does not fit, by name; nothing is written.
    """
    check_new(out)
    tensors = read_published(published_folder(local_folder(published)), dtype)
    pipe = _assemble(build_networks(tensors), Base.find(base, tokenizer), dtype)
    with new_folder(out) as folder:
        pipe.save_pretrained(folder)


def export(pipeline: str, out: Path) -> None:
    """Write the networks of a pipeline folder (or hub id) as a published folder, float32.

    Raises an InputError if `out` exists, or the pipeline does not load; nothing is written.
    """
    pipe = _load_own(local_folder(pipeline), torch.float32)
    with new_folder(out) as target:
        write_published(pipe.components, target)
    warn_of_left_out(out, pipe)


def sampling_defaults(weights: str, base: str | None = None) -> dict[str, Any]:
    """`height` and `width` that trained weights (of any form) were trained with, and their text `guidance_scale`.

    Published files do not say; with them, a `base` that is a pipeline folder of this project does. Raises an
    InputError if there is no such folder, or it says something else than numbers.
    """
    folder = local_folder(weights)
    if base is not None and not (folder / "model_index.json").is_file():
        folder = local_folder(base, ["model_index.json"])
    size = {"frame_height": FULL_SIZE, "frame_width": FULL_SIZE}
    found = size | {"guidance_scale": Guidance.text} | own_defaults(folder)
    return {name.removeprefix("frame_"): value for name, value in found.items()}


def check_base(unet: SMCDUNet3D, vae: Any, text_encoder: Any, tokenizer: Any) -> None:
    """Raise an InputError where a base does not fit the networks."""
    for what, found, expected in (
        ("text encoder", text_encoder.config.hidden_size, unet.config.cross_attention_dim),
        ("VAE", vae.config.latent_channels, unet.config.in_channels),
    ):
        if found != expected:
            raise InputError(f"the base's {what} has {found} channels, but the trained UNet wants {expected}")
    words, known = len(tokenizer), text_encoder.config.vocab_size
    if words > known:
        raise InputError(f"the tokenizer has {words} words, the text encoder {known}: name another --tokenizer")


def cast(part: Any, dtype: torch.dtype) -> None:
    """Change the weights of a pipeline's part to `dtype`; PositionNet's stay as they are, in float32."""
    if isinstance(part, nn.Module) and not isinstance(part, PositionNet):
        nn.Module.to(part, dtype)  # not diffusers' `to`, which warns of float32 modules where there are none


def _assemble(networks: Mapping[str, Any], source: Base, dtype: torch.dtype) -> SMCDPipeline:
    parts = {**networks, "vae": source.vae(), "text_encoder": source.text_encoder(), "tokenizer": source.tokenizer()}
    check_base(parts["unet"], parts["vae"], parts["text_encoder"], parts["tokenizer"])
    for part in parts.values():
        cast(part, dtype)
    return SMCDPipeline(**parts, scheduler=source.scheduler(), **own_defaults(source.folder))


def _load_own(folder: Path, dtype: torch.dtype) -> SMCDPipeline:
    index = pipeline_index(folder)
    if not index:
        raise InputError(f"{folder}: has no readable model_index.json: not a pipeline folder")
    if not is_own(folder):
        kind = f"a {index.get('_class_name')} folder; it can be the base (pretrained_model_path)"
        raise InputError(f"{folder}: {kind}, but the trained weights of an SMCDPipeline are needed too")
    networks = {
        name: load_model(kind, folder, name, dtype=dtype) if any(index.get(name) or [None]) else None
        for name, kind in _NETWORKS.items()
    }
    unet = networks["unet"]
    if unet is None:
        raise InputError(f"{folder}: its model_index.json names no unet")
    for part, gate in (("position_net", "object_gate"), ("image_encoder", "image_gate")):
        if unet.config[gate] and networks[part] is None:
            raise InputError(f"{folder}: its UNet has an {gate.replace('_', ' ')}, but there is no {part}/")
    check_widths(unet, networks["position_net"], networks["image_encoder"])
    return _assemble(networks, Base.find(str(folder)), dtype)
