"""The guided noise prediction: the UNet under every set of conditions that the guidance formula needs."""

from typing import Any

import torch
from torch import Tensor, nn

from smcd.conditions import Conditions
from smcd.diffusion import Guidance
from smcd.models import SMCDUNet3D


class GuidedDenoiser:
    """Predicts the noise in a batch of clips, step after step, under one set of conditions.

    What does not depend on the step (object and image tokens, and the keys and values of text, objects and image) is
    computed once.

    Args:
        conditions: of the clips; their dropped versions make the guidance branches.
        guidance: scales; its text scale may be changed between steps.
        low_memory: run the branches one after the other instead of as one batch; same result.
    """

    def __init__(
        self,
        unet: SMCDUNet3D,
        position_net: nn.Module | None,
        image_encoder: nn.Module | None,
        conditions: Conditions,
        guidance: Guidance,
        low_memory: bool = False,
    ):
        self.unet = unet
        self.guidance = guidance
        branches = {name: conditions.drop(**drops) for name, drops in guidance.branches().items()}
        groups = [[name] for name in branches] if low_memory else [list(branches)]
        self._calls: list[tuple[list[str], dict[str, Any]]] = []
        for names in groups:
            batch = Conditions.cat([branches[name] for name in names])
            inputs = batch.unet_inputs(unet.config, position_net, image_encoder)
            self._calls.append((names, {**inputs, "cache": {}}))

    def __call__(self, sample: Tensor, timestep: Tensor | int) -> Tensor:
        """The guided noise, float32, in noisy latents `sample` (B 4 F h w)."""
        eps: dict[str, Tensor] = {}
        for names, inputs in self._calls:
            batch = sample.to(self.unet.dtype).repeat(len(names), 1, 1, 1, 1)  # (branches B) 4 F h w
            predicted = self.unet(batch, timestep, **inputs, return_dict=False)[0]
            eps |= zip(names, predicted.to(torch.float32).chunk(len(names)), strict=True)
        return self.guidance.combine(eps)
