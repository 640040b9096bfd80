"""The guided noise prediction: the UNet under every set of conditions that the guidance formula needs."""

from typing import Any

import torch
from torch import Tensor, nn

from smcd.conditions import Conditions
from smcd.diffusion import Guidance
from smcd.models import KeyValueCache, SMCDUNet3D


class GuidedDenoiser:
    """Predicts the noise in a batch of clips, step after step, under one set of conditions.

    What does not depend on the step (object and image tokens, and the keys and values of text, objects and image) is
    computed once.

    Args:
        low_memory: run the branches one after the other instead of as one batch; same result.
    """

    def __init__(
        self,
        unet: SMCDUNet3D,
        position_net: nn.Module | None,
        image_encoder: nn.Module | None,
        low_memory: bool = False,
    ):
        self.unet = unet
        self.position_net = position_net
        self.image_encoder = image_encoder
        self.low_memory = low_memory
        self.guidance = Guidance()
        self._conditions: Conditions | None = None
        self._calls: list[tuple[list[str], dict[str, Any]]] = []  # branches, and arguments of the UNet

    def prepare(self, conditions: Conditions, guidance: Guidance) -> None:
        """Set conditions and guidance scales; between steps this costs nothing where they did not change."""
        drops = guidance.branches()
        unchanged = conditions is self._conditions and list(drops) == list(self.guidance.branches())
        self._conditions, self.guidance = conditions, guidance
        if unchanged:
            return
        self._calls = []
        branches = {name: conditions.drop(**drop) for name, drop in drops.items()}
        for names in [[name] for name in branches] if self.low_memory else [list(branches)]:
            batch = Conditions.cat([branches[name] for name in names])
            inputs = batch.unet_inputs(self.unet.config, self.position_net, self.image_encoder)
            self._calls.append((names, {**inputs, "cache": KeyValueCache()}))

    def __call__(self, sample: Tensor, timestep: Tensor | int) -> Tensor:
        """The guided noise, float32, in noisy latents `sample` (B 4 F h w)."""
        eps: dict[str, Tensor] = {}
        for names, inputs in self._calls:
            batch = sample.to(self.unet.dtype).repeat(len(names), 1, 1, 1, 1)  # (branches B) 4 F h w
            predicted = self.unet(batch, timestep, **inputs, return_dict=False)[0]
            eps |= zip(names, predicted.to(torch.float32).chunk(len(names)), strict=True)
        return self.guidance.combine(eps)
