"""The golden tensors of `tests/goldens`: inputs, outputs, and weights that follow from their names."""

import json
import math
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from smcd import Conditions, ImageEncoder, PositionNet, SMCDPipeline, SMCDUNet3D
from smcd.convert import from_published, to_published
from smcd.guidance import Guidance
from smcd.schedulers import make_scheduler
from smcd.training.objective import Example, TrainedNetworks

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

    def conditions(self) -> Conditions:
        text = self.input("text")
        return Conditions(
            text=text,
            null_text=self.input("null_text").expand_as(text),
            boxes=self.input("boxes"),
            box_mask=self.input("masks"),
            phrase_embeddings=self.input("object_text"),
            object_padding=None,
            image_latents=self.input("latents")[:, :, 0],
        )

    def call(self, **inputs: Any) -> Tensor:
        """The UNet's output: "eps", with all conditions as its inputs."""
        noisy = make_scheduler().add_noise(self.input("latents"), self.input("noise"), self.input("timesteps").long())
        temporal = not self.config["temporal_layers_bypassed"]
        return self.unet(noisy, self.input("timesteps"), self.input("text"), temporal=temporal, **inputs).sample

    def sample(self, steps: int, low_memory: bool = False) -> Tensor:
        """Latents after guided steps: "sample_10"."""
        pipe = SMCDPipeline(None, None, None, self.unet, make_scheduler(), self.position_net, self.image_encoder)
        pipe.set_progress_bar_config(disable=True)
        pipe.scheduler.set_timesteps(steps)
        guidance = Guidance(text=self.config["guidance_scale"])
        return pipe.denoise(self.input("noise"), self.conditions(), guidance, low_memory=low_memory)

    def loss_and_gradients(self) -> tuple[Tensor, dict[str, tuple[Tensor, Tensor]]]:
        """The loss, and for each gradient of the golden its norm and the expected one."""
        temporal = not self.config["temporal_layers_bypassed"]
        networks = TrainedNetworks(
            self.unet, self.position_net, self.image_encoder, make_scheduler(), temporal=temporal
        )
        networks.requires_grad_(True).zero_grad()
        timesteps = self.input("timesteps").long()
        loss = networks(Example(self.input("latents"), self.input("noise"), timesteps, self.conditions())).mean()
        loss.backward()
        parts = {"unet": self.unet, "position_net": self.position_net, "visual_encoder": self.image_encoder}
        gradients = to_published(
            {
                part: {
                    key: p.grad if p.grad is not None else torch.zeros_like(p) for key, p in network.named_parameters()
                }
                for part, network in parts.items()
                if network is not None
            }
        )
        expected = {
            key.removeprefix("grad_norm."): value for key, value in self.tensors.items() if key.startswith("grad_")
        }
        keys = {key: key.partition(".") for key in expected}
        return loss.detach(), {
            key: (gradients[part][leaf].norm(), expected[key]) for key, (part, _, leaf) in keys.items()
        }


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
