"""The golden tensors of `tests/goldens`: inputs, outputs, and weights that follow from their names."""

import json
import math
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from smcd import ImageEncoder, PositionNet, SMCDUNet3D
from smcd.convert import from_published

GOLDENS = Path(__file__).parent / "goldens"
NAMES = ["base", "stage1", "boxes_only", "zero_conv", "gated_cross_attention", "smcd"]


def weight(name: str, shape: list[int]) -> Tensor:
    """The goldens' rule (goldens/README.md): every tensor follows from its published name."""
    rs = np.random.RandomState(zlib.crc32(name.encode()))
    leaf = name.rsplit(".", 1)[-1]
    if "alpha_" in leaf:
        values = rs.uniform(-0.8, 0.8, size=shape)
    elif len(shape) >= 2:
        values = rs.standard_normal(shape) * 0.8 / math.sqrt(math.prod(shape[1:]))
    elif leaf == "weight":
        values = 1 + 0.1 * rs.standard_normal(shape)
    else:
        values = 0.05 * rs.standard_normal(shape)
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def parts_of(names: dict[str, list[int]]) -> dict[str, dict[str, list[int]]]:
    """{"unet.x": shape} -> {"unet": {"x": shape}}."""
    parts: dict[str, dict[str, list[int]]] = {}
    for name, shape in names.items():
        part, rest = name.split(".", 1)
        parts.setdefault(part, {})[rest] = shape
    return parts


@dataclass
class Golden:
    """One golden file with its networks in eval mode."""

    config: dict
    tensors: dict[str, Tensor]
    published: dict[str, dict[str, Tensor]]
    unet: SMCDUNet3D
    position_net: PositionNet | None
    image_encoder: ImageEncoder | None

    def input(self, name: str) -> Tensor:
        return self.tensors[f"input.{name}"]

    def output(self, name: str) -> Tensor:
        return self.tensors[f"output.{name}"]

    def objects(self) -> Tensor | None:
        if self.position_net is None:
            return None
        return self.position_net(self.input("boxes"), self.input("masks"), self.input("object_text"))

    def image_inputs(self) -> dict[str, Tensor]:
        first = self.input("latents")[:, :, 0]
        inputs = {}
        if self.unet.config.image_concat:
            inputs["image_latents"] = first
        if self.image_encoder is not None:
            inputs["image_tokens"] = self.image_encoder(first)
        return inputs


def relative_error(value: Tensor, expected: Tensor) -> float:
    return float((value - expected).norm() / expected.norm())


@cache
def load(name: str) -> Golden:
    with safe_open(GOLDENS / f"{name}.safetensors", "pt") as file:
        config, shapes = (json.loads(file.metadata()[key]) for key in ("config", "weights"))
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    published = {
        part: {key: weight(f"{part}.{key}", shape) for key, shape in names.items()}
        for part, names in parts_of(shapes).items()
    }
    weights = from_published(published)
    unet = SMCDUNet3D(
        block_out_channels=config["block_out_channels"],
        layers_per_block=config["layers_per_block"],
        attention_head_dim=config["attention_head_dim"],
        cross_attention_dim=config["text_width"],
        spatial_attention=config["spatial_attention_per_level"],
        object_gate=config["grounding"] != "False",
        image_gate=config["grounding"] == "vanilla_cross_vision",
        image_concat=config["concat_first_frame"],
        object_dim=config["object_token_width"],
        image_token_dim=config["image_token_width"] or 1024,
    )
    unet.load_state_dict(weights["unet"])
    position_net = image_encoder = None
    if "position_net" in weights:
        position_net = PositionNet(config["text_width"], config["object_token_width"]).eval()
        position_net.load_state_dict(weights["position_net"])
    if "visual_encoder" in weights:
        image_encoder = ImageEncoder(tuple(config["visual_encoder_channels"])).eval()
        image_encoder.load_state_dict(weights["visual_encoder"])
    return Golden(config, tensors, published, unet.eval(), position_net, image_encoder)
