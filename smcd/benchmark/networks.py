"""Networks of the full and of the tiny size with random weights, made quickly, and diffusers' base beside them."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet3DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from smcd.models import ImageEncoder, PositionNet, SMCDUNet3D
from smcd.pipeline import SMCDPipeline
from smcd.schedulers import make_scheduler
from smcd.sprites.tiny import tiny_pipeline

_PERIOD = 2**22 + 1  # random numbers that are drawn once and then repeated


def make_pipeline(size: str, dtype: torch.dtype = torch.float32, encoders: bool = True, **paths: Any) -> SMCDPipeline:
    """A pipeline with random weights and open gates on the CPU.

    Args:
        size: "full" (1.97 G parameters in the UNet) or "tiny".
        dtype: of all networks but PositionNet, which stays in float32.
        encoders: False leaves out the full size's VAE and text encoder.
        paths: `object_gate`, `image_gate` and `image_concat` of the UNet; all True by default.
    """
    pipe = tiny_pipeline(**paths)
    if size == "full":
        with torch.device("meta"):
            unet, position_net = SMCDUNet3D(**paths), PositionNet()
            image_encoder = ImageEncoder() if unet.config.image_gate else None
            vae, text_encoder = (AutoencoderKL(**_VAE), CLIPTextModel(_TEXT)) if encoders else (None, None)
        parts = (vae, text_encoder, pipe.tokenizer, unet, make_scheduler(), position_net, image_encoder)
        pipe = SMCDPipeline(*parts)
    for part in (pipe.vae, pipe.text_encoder, pipe.unet, pipe.image_encoder):
        if part is not None:
            fill(part, dtype)
    fill(pipe.position_net, torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def make_base(unet: SMCDUNet3D) -> UNet3DConditionModel:
    """diffusers' text-to-video UNet of the same widths, on the same weights (shared, not copied)."""
    config = unet.config
    with torch.device("meta"):
        base = UNet3DConditionModel(
            block_out_channels=config.block_out_channels,
            layers_per_block=config.layers_per_block,
            attention_head_dim=config.attention_head_dim,
            cross_attention_dim=config.cross_attention_dim,
            down_block_types=_block_types(config, "CrossAttnDownBlock3D", "DownBlock3D"),
            up_block_types=_block_types(config, "CrossAttnUpBlock3D", "UpBlock3D")[::-1],
        )
    base._repeated_blocks = ["Transformer2DModel", "TransformerTemporalModel"]  # for torch.compile; it names none
    weights = unet.state_dict()
    shared = {name: weights[name] for name in base.state_dict()}
    shared["conv_in.weight"] = shared["conv_in.weight"][:, : base.config.in_channels].contiguous()
    base.load_state_dict(shared, assign=True)
    return base.eval().requires_grad_(False)


def _block_types(config: Mapping[str, Any], attending: str, plain: str) -> tuple[str, ...]:
    return tuple(attending if attention else plain for attention in config["spatial_attention"])


@torch.no_grad()
def fill(module: nn.Module, dtype: torch.dtype) -> None:
    """Give a module small random weights of this dtype, on the CPU, that keep activations finite; gates at 0.5.

    The numbers repeat after `_PERIOD`: drawing billions of them would take a minute, and speed does not depend on
    them.
    """
    drawn = torch.randn(_PERIOD, generator=torch.Generator().manual_seed(0)).to(dtype)
    for owner in module.modules():
        for name, parameter in list(owner.named_parameters(recurse=False)):
            new = nn.Parameter(_values(name, parameter.shape, drawn), requires_grad=False)
            setattr(owner, name, new)
        for name, buffer in list(owner.named_buffers(recurse=False)):
            if buffer.is_meta:  # of the text encoder: the numbers of the positions
                setattr(owner, name, torch.arange(buffer.numel()).reshape(buffer.shape))
    module.eval()


def _values(name: str, shape: torch.Size, drawn: Tensor) -> Tensor:
    if name.startswith("alpha_"):
        return torch.full(shape, 0.5, dtype=drawn.dtype)
    count = math.prod(shape)
    values = drawn.repeat(-(-count // _PERIOD))[:count] if count > _PERIOD else drawn[:count].clone()
    values = values.reshape(shape)
    if len(shape) > 1:
        return values.mul_(0.7 / math.sqrt(math.prod(shape[1:])))
    return values.mul_(0.05).add_(1.0 if name == "weight" else 0.0)


_VAE = {  # Stable Diffusion's
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "scaling_factor": 0.18215,
}
_TEXT = CLIPTextConfig(  # OpenCLIP's ViT-H-14 without its last layer
    hidden_size=1024, intermediate_size=4096, num_hidden_layers=23, num_attention_heads=16, hidden_act="gelu"
)
