"""Tensor names: published (latent-diffusion style) <-> this project's (diffusers style).

Levels, layers and gates are read off the names, shortcuts off the shapes; they give the complete list of names, and
anything beyond or short of it is an error.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from smcd.models.image_encoder import BLOCKS_PER_LEVEL
from smcd.runtime.errors import InputError

StateDict = dict[str, Tensor]
Pair = tuple[str, str]  # the published name and ours

_RESNET = {  # ours -> published
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
}
_TEMPORAL_CONV = ["conv1.0", "conv1.2", *(f"conv{i}.{j}" for i in (2, 3, 4) for j in (0, 3))]
_ATTENTION = ["to_q.weight", "to_k.weight", "to_v.weight", "to_out.0.weight", "to_out.0.bias"]
_FEED_FORWARD = [f"net.{layer}.{leaf}" for layer in ("0.proj", "2") for leaf in ("weight", "bias")]
_OBJECT_GATE = {"proj": "linear", "attn": "attn", "ff": "ff", "norm1": "norm1", "norm2": "norm2"}
_IMAGE_GATE = {"proj": "v_linear"} | {name: f"cross_{name}" for name in ("attn", "ff", "norm1", "norm2")}
_GATE_SCALARS = ("alpha_attn", "alpha_dense")
_IMAGE_ENCODER = {"conv_in": "in_conv", "conv1": "block1", "conv2": "block2"}
_POSITION_NET = {"null_phrase": "null_positive_feature", "null_box": "null_position_feature"}
_TEMPORAL_PROJECTION = re.compile(r"(temp_attentions|transformer_in).*proj_(in|out)\.weight$")  # published: 1-wide conv


class _Structure(NamedTuple):
    """What the names of a UNet tell about it."""

    layers: int
    attention: tuple[bool, ...]  # for each level
    object_gate: bool
    image_gate: bool
    shortcuts: frozenset[str]  # first convolutions of resnets that change the width


def from_published(parts: Mapping[str, Mapping[str, Tensor]]) -> dict[str, StateDict]:
    """Rename published tensors to this project's names; 1-wide temporal convolutions become linear layers (a view).

    Args:
        parts: any of "unet", "position_net", "visual_encoder", each {published name: tensor}. Widths do not matter,
            and tensors may be on the meta device.

    Returns the same keys, each {this project's name: tensor}. Raises an InputError (a ValueError) that names the part,
    or the tensors, that are unknown or missing.
    """
    return {part: _rename(part, tensors, published=True) for part, tensors in parts.items()}


def to_published(parts: Mapping[str, Mapping[str, Tensor]]) -> dict[str, StateDict]:
    """The exact inverse of `from_published`, with the same errors: this project's names in, published names out."""
    return {part: _rename(part, tensors, published=False) for part, tensors in parts.items()}


def published_names(unet: Mapping[str, Tensor]) -> dict[str, str]:
    """{this project's name: published name} of a UNet's tensors; raises as `to_published`."""
    theirs = to_published({"unet": unet})
    return dict(zip(from_published(theirs)["unet"], theirs["unet"], strict=True))  # both in the order of the pairs


def _rename(part: str, tensors: Mapping[str, Tensor], published: bool) -> StateDict:
    if part not in _PAIRS:
        raise InputError(f"unknown part {part!r}: a checkpoint has {', '.join(_PAIRS)}")
    pairs = list(_PAIRS[part](tensors, published))
    check_tensors(part, tensors, dict.fromkeys(theirs if published else ours for theirs, ours in pairs))
    if published:
        return {ours: _reshape(ours, tensors[theirs], published) for theirs, ours in pairs}
    return {theirs: _reshape(ours, tensors[ours], published) for theirs, ours in pairs}


def check_tensors(what: str, found: Mapping[str, Tensor], expected: Mapping[str, torch.Size | None]) -> None:
    """Raise an InputError that lists by name every tensor that is missing, unknown or of another shape.

    `expected` holds the shape of each tensor, which is floating point then; None allows any. `what` is for the message.
    """
    wrong = [f"unknown {name}" for name in sorted(found.keys() - expected.keys())]
    wrong += [f"missing {name}" for name in sorted(expected.keys() - found.keys())]
    for name in sorted(found.keys() & expected.keys()):
        if (shape := expected[name]) is None:
            continue
        if not found[name].is_floating_point():
            wrong.append(f"{name} is {found[name].dtype}, not floating point")
        if found[name].shape != shape:
            wrong.append(f"{name} is {tuple(found[name].shape)} instead of {tuple(shape)}")
    if wrong:
        raise InputError(f"{what}: {len(wrong)} tensors do not fit: {'; '.join(wrong)}")


def _reshape(ours: str, tensor: Tensor, published: bool) -> Tensor:
    if not _TEMPORAL_PROJECTION.search(ours) or (published and tensor.ndim != 3):
        return tensor
    return tensor.squeeze(-1) if published else tensor.unsqueeze(-1)


# The UNet


def _unet_pairs(tensors: Mapping[str, Tensor], published: bool) -> Iterator[Pair]:
    structure = _published_structure(tensors) if published else _own_structure(tensors)
    levels, layers = len(structure.attention), structure.layers
    yield from _leaves("time_embed.0", "time_embedding.linear_1")
    yield from _leaves("time_embed.2", "time_embedding.linear_2")
    yield from _leaves("input_blocks.0.0", "conv_in")
    yield from _transformer("input_blocks.0.1", "transformer_in")
    index = 1
    for level, attention in enumerate(structure.attention):
        block = f"down_blocks.{level}"
        for layer in range(layers):
            yield from _layer(f"input_blocks.{index}", block, layer, attention, structure)
            index += 1
        if level < levels - 1:
            yield from _leaves(f"input_blocks.{index}.op", f"{block}.downsamplers.0.conv")
            index += 1
    yield from _layer("middle_block", "mid_block", 0, True, structure)
    yield from _resnet("middle_block.3", "mid_block", 1, structure)
    index = 0
    for level, attention in enumerate(reversed(structure.attention)):
        block = f"up_blocks.{level}"
        for layer in range(layers + 1):
            yield from _layer(f"output_blocks.{index}", block, layer, attention, structure)
            index += 1
        if level < levels - 1:
            slot = 3 if attention else 1
            yield from _leaves(f"output_blocks.{index - 1}.{slot}.conv", f"{block}.upsamplers.0.conv")
    yield from _leaves("out.0", "conv_norm_out")
    yield from _leaves("out.2", "conv_out")


def _leaves(theirs: str, ours: str, leaves: Iterable[str] = ("weight", "bias")) -> Iterator[Pair]:
    return ((f"{theirs}.{leaf}", f"{ours}.{leaf}") for leaf in leaves)


def _layer(theirs: str, ours: str, layer: int, attention: bool, structure: _Structure) -> Iterator[Pair]:
    yield from _resnet(f"{theirs}.0", ours, layer, structure)
    if attention:
        yield from _spatial_transformer(f"{theirs}.1", f"{ours}.attentions.{layer}", structure)
        yield from _transformer(f"{theirs}.2", f"{ours}.temp_attentions.{layer}")


def _resnet(theirs: str, block: str, layer: int, structure: _Structure) -> Iterator[Pair]:
    ours = f"{block}.resnets.{layer}"
    for own_name, name in _RESNET.items():
        yield from _leaves(f"{theirs}.{name}", f"{ours}.{own_name}")
    if structure.shortcuts & {f"{theirs}.in_layers.2.weight", f"{ours}.conv1.weight"}:
        yield from _leaves(f"{theirs}.skip_connection", f"{ours}.conv_shortcut")
    for name in _TEMPORAL_CONV:
        yield from _leaves(f"{theirs}.temopral_conv.{name}", f"{block}.temp_convs.{layer}.{name}")  # sic


def _transformer(theirs: str, ours: str) -> Iterator[Pair]:
    for name in ("norm", "proj_in", "proj_out"):
        yield from _leaves(f"{theirs}.{name}", f"{ours}.{name}")
    theirs, ours = f"{theirs}.transformer_blocks.0", f"{ours}.transformer_blocks.0"
    for name in ("norm1", "norm2", "norm3"):
        yield from _leaves(f"{theirs}.{name}", f"{ours}.{name}")
    for name in ("attn1", "attn2"):
        yield from _leaves(f"{theirs}.{name}", f"{ours}.{name}", _ATTENTION)
    yield from _leaves(f"{theirs}.ff", f"{ours}.ff", _FEED_FORWARD)


def _spatial_transformer(theirs: str, ours: str, structure: _Structure) -> Iterator[Pair]:
    yield from _transformer(theirs, ours)
    theirs, ours = f"{theirs}.transformer_blocks.0.gate_attn", f"{ours}.transformer_blocks.0"
    if structure.object_gate:
        yield from _gate(theirs, f"{ours}.object_gate", _OBJECT_GATE, "")
    if structure.image_gate:
        yield from _gate(theirs, f"{ours}.image_gate", _IMAGE_GATE, "cross_")


def _gate(theirs: str, ours: str, names: Mapping[str, str], scalar_prefix: str) -> Iterator[Pair]:
    leaves = {"attn": _ATTENTION, "ff": _FEED_FORWARD}
    for own_name, name in names.items():
        yield from _leaves(f"{theirs}.{name}", f"{ours}.{own_name}", leaves.get(own_name, ("weight", "bias")))
    for scalar in _GATE_SCALARS:
        yield f"{theirs}.{scalar_prefix}{scalar}", f"{ours}.{scalar}"


def _shortcuts(tensors: Mapping[str, Tensor]) -> frozenset[str]:
    """First convolutions of resnets, by either name, whose output is not as wide as their input."""
    convs = {name: t for name, t in tensors.items() if name.endswith((".in_layers.2.weight", ".conv1.weight"))}
    return frozenset(name for name, t in convs.items() if t.ndim == 4 and t.shape[0] != t.shape[1])


def _published_structure(tensors: Mapping[str, Tensor]) -> _Structure:
    text = "\n".join(tensors)
    layer_blocks, downsamples, with_attention = (
        {int(index) for index in re.findall(rf"^input_blocks\.(\d+)\.{leaf}\.", text, re.M)}
        for leaf in (r"0\.(?:in_layers|out_layers|emb_layers)", "op", "1")
    )
    blocks = layer_blocks | downsamples
    gaps = set(range(1, max(blocks, default=1))) - blocks
    if gaps or not layer_blocks:
        missing = ", ".join(f"input_blocks.{index}.*" for index in sorted(gaps or {1}))
        raise InputError(f"unet: not a whole published SMCD UNet: missing {missing}")
    downsamples -= layer_blocks
    levels = len(downsamples) + 1
    layers = -(-len(layer_blocks) // levels)  # rounded up: what is short of it is named later
    first = [1 + level * (layers + 1) for level in range(levels)]  # input block of each level's first layer
    gates = re.findall(r"\.gate_attn\.(\w+)", text)
    image = [gate.startswith(("cross_", "v_linear")) for gate in gates]
    attention = tuple(any(index + layer in with_attention for layer in range(layers)) for index in first)
    return _Structure(layers, attention, not all(image), any(image), _shortcuts(tensors))


def _own_structure(tensors: Mapping[str, Tensor]) -> _Structure:
    text = "\n".join(tensors)
    resnets = [(int(a), int(b)) for a, b in re.findall(r"^down_blocks\.(\d+)\.resnets\.(\d+)\.", text, re.M)]
    if not resnets:
        raise InputError("unet: not an SMCDUNet3D: it has no down_blocks")
    levels, layers = (max(numbers) + 1 for numbers in zip(*resnets, strict=True))
    with_attention = {int(level) for level in re.findall(r"^down_blocks\.(\d+)\.attentions\.", text, re.M)}
    attention = tuple(level in with_attention for level in range(levels))
    return _Structure(layers, attention, ".object_gate." in text, ".image_gate." in text, _shortcuts(tensors))


# PositionNet and the image encoder


def _position_net_pairs(tensors: Mapping[str, Tensor], published: bool) -> Iterator[Pair]:
    yield from ((theirs, ours) for ours, theirs in _POSITION_NET.items())
    for layer in (0, 2, 4):
        yield from _leaves(f"linears.{layer}", f"linears.{layer}")


def _image_encoder_pairs(tensors: Mapping[str, Tensor], published: bool) -> Iterator[Pair]:
    prefix = "body" if published else "blocks"
    found = {int(match[1]) for name in tensors if (match := re.match(rf"{prefix}\.(\d+)\.", name))}
    levels = max(1, -(-len(found) // BLOCKS_PER_LEVEL))
    yield from _leaves("conv_in", "conv_in")
    for index in range(levels * BLOCKS_PER_LEVEL):
        for own_name, name in _IMAGE_ENCODER.items():
            yield from _leaves(f"body.{index}.{name}", f"blocks.{index}.{own_name}")
        if index and index % BLOCKS_PER_LEVEL == 0:
            yield from _leaves(f"body.{index}.down_opt.op", f"blocks.{index}.downsample")


_PAIRS = {"unet": _unet_pairs, "position_net": _position_net_pairs, "visual_encoder": _image_encoder_pairs}
