"""The three networks from tensors of any widths: their configs are read off the shapes."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from diffusers import ModelMixin
from torch import Tensor

from smcd.convert.names import StateDict, check_tensors, from_published
from smcd.convert.weight_files import PUBLISHED_FILES
from smcd.models import ImageEncoder, PositionNet, SMCDUNet3D
from smcd.models.image_encoder import BLOCKS_PER_LEVEL
from smcd.runtime.errors import InputError


def build_networks(
    published: Mapping[str, Mapping[str, Tensor]], needs_position_net: bool = True
) -> dict[str, ModelMixin | None]:
    """Networks with published weights ("unet", "position_net", "visual_encoder"), used as they are (no copy).

    Without `needs_position_net`, it is None where it is missing. Raises an InputError for a part that is missing where
    the UNet has a gate for it, and for tensors that are unknown, missing or of another shape, by name.
    """
    weights = from_published(published)
    unet = build(SMCDUNet3D, unet_config, weights["unet"])
    position_net = image_encoder = None
    for part, gate in (("position_net", "object_gate"), ("visual_encoder", "image_gate")):
        if unet.config[gate] and part not in weights and (needs_position_net or part != "position_net"):
            file = f"{part} ({PUBLISHED_FILES[part]})"
            raise InputError(f"the UNet has an {gate.replace('_', ' ')}, but the checkpoint has no {file}")
    if unet.config.object_gate and "position_net" in weights:
        position_net = build(PositionNet, position_net_config, weights["position_net"])
    if unet.config.image_gate:
        image_encoder = build(ImageEncoder, image_encoder_config, weights["visual_encoder"])
    check_widths(unet, position_net, image_encoder)
    return {"unet": unet, "position_net": position_net, "image_encoder": image_encoder}


def build(network: type[ModelMixin], read_config: Callable[[StateDict], dict], tensors: StateDict) -> ModelMixin:
    """A network in eval mode that holds exactly these tensors; raises an InputError where one does not fit."""
    try:
        with torch.device("meta"):
            model = network(**read_config(tensors))
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{network.__name__}: no network has tensors of these shapes ({error})") from None
    check_tensors(network.__name__, tensors, {name: tensor.shape for name, tensor in model.state_dict().items()})
    model.load_state_dict(tensors, assign=True)
    return model.eval()


def check_widths(unet: Any, position_net: Any, image_encoder: Any) -> None:
    """Raise an InputError where PositionNet or the image encoder do not fit the UNet."""
    own, pairs = unet.config, []
    if position_net is not None:
        pairs.append(("PositionNet's phrases", position_net.config.phrase_dim, own.cross_attention_dim))
        pairs.append(("PositionNet's tokens", position_net.config.out_dim, own.object_dim))
    if image_encoder is not None:
        pairs.append(("the image encoder's tokens", image_encoder.config.channels[-1], own.image_token_dim))
        pairs.append(("the image encoder's input", image_encoder.config.in_channels, own.in_channels))
    for what, found, expected in pairs:
        if found != expected:
            raise InputError(f"{what} are {found} wide, but the UNet wants {expected}: parts of different networks")


def unet_config(tensors: Mapping[str, Tensor]) -> dict:
    """The config of an SMCDUNet3D with these tensors (this project's names)."""
    levels = [f"down_blocks.{level}" for level in range(_count(tensors, r"down_blocks\.(\d+)\."))]
    middle = "mid_block.attentions.0.transformer_blocks.0"  # every network has this one
    object_proj, image_proj = (tensors.get(f"{middle}.{gate}.proj.weight") for gate in ("object_gate", "image_gate"))
    in_channels = tensors["conv_out.weight"].shape[0]
    text_dim = tensors[f"{middle}.attn2.to_k.weight"].shape[1]
    return {
        "in_channels": in_channels,
        "out_channels": in_channels,
        "block_out_channels": tuple(tensors[f"{level}.resnets.0.conv1.weight"].shape[0] for level in levels),
        "layers_per_block": _count(tensors, r"down_blocks\.0\.resnets\.(\d+)\."),
        "attention_head_dim": tensors["transformer_in.proj_in.weight"].shape[0] // 8,  # always 8 heads there
        "cross_attention_dim": text_dim,
        "spatial_attention": tuple(f"{level}.attentions.0.norm.weight" in tensors for level in levels),
        "object_gate": object_proj is not None,
        "image_gate": image_proj is not None,
        "image_concat": tensors["conv_in.weight"].shape[1] == 2 * in_channels,
        "object_dim": text_dim if object_proj is None else object_proj.shape[1],
        "image_token_dim": text_dim if image_proj is None else image_proj.shape[1],
    }


def position_net_config(tensors: Mapping[str, Tensor]) -> dict:
    """The config of a PositionNet with these tensors."""
    return {"phrase_dim": tensors["null_phrase"].shape[0], "out_dim": tensors["linears.4.weight"].shape[0]}


def image_encoder_config(tensors: Mapping[str, Tensor]) -> dict:
    """The config of an ImageEncoder with these tensors."""
    levels = _count(tensors, r"blocks\.(\d+)\.") // BLOCKS_PER_LEVEL
    widths = tuple(tensors[f"blocks.{BLOCKS_PER_LEVEL * level}.conv_in.weight"].shape[0] for level in range(levels))
    return {"channels": widths, "in_channels": tensors["conv_in.weight"].shape[1]}


def _count(names: Iterable[str], pattern: str) -> int:
    """One more than the largest number that the pattern finds."""
    return max((int(match[1]) for name in names if (match := re.match(pattern, name))), default=-1) + 1
