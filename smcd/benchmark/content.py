"""What the networks are given: random clips of the sizes that were asked for."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from smcd.benchmark.settings import Settings
from smcd.conditions import Conditions

_FACTOR = 8  # pixels of a side of a latent, as both sizes' VAEs have them


def make_conditions(settings: Settings, unet: Mapping[str, Any]) -> Conditions:
    """Of clips with random text, image and boxes; `unet` is its config."""
    config, device = settings.config, settings.device
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device)

    clips, width, side = config.batch, unet["cross_attention_dim"], config.pixels // _FACTOR
    corners = draw(clips, config.frames, config.objects, 2).sigmoid() / 2
    return Conditions(
        text=draw(clips, 77, width).to(settings.dtype),
        null_text=draw(clips, 77, width).to(settings.dtype),
        boxes=torch.cat([corners, corners + 0.3], dim=-1),
        box_mask=torch.ones(clips, config.frames, config.objects, device=device),
        phrase_embeddings=draw(clips, 1, config.objects, width),
        object_padding=None,
        image_latents=draw(clips, unet["in_channels"], side, side).to(settings.dtype),
    )


def make_noise(settings: Settings, unet: Mapping[str, Any], seed: int = 1) -> Tensor:
    """Latents of unit variance, B 4 F h w, float32."""
    config, side = settings.config, settings.config.pixels // _FACTOR
    shape = (config.batch, unet["in_channels"], config.frames, side, side)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(settings.device)
