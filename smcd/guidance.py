"""The guidance formula, and the guided prediction: the UNet under every set of conditions that the formula needs."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from smcd.conditions import Conditions
from smcd.models import KeyValueCache, SMCDUNet3D

# A guidance branch: the name of its prediction, and what it drops (arguments of Conditions.drop).
_DROPS = {
    "text": {"text": True},
    "image": {"image": True},
    "text_image": {"text": True, "image": True},
    "boxes": {"boxes": True},
}


@dataclass(frozen=True)
class Guidance:
    """Guidance scales. With e(all) the prediction under all conditions:

        eps = e(null text) + text (e(all) - e(null text))
              + image (e(all) - e(image dropped)) + text_image (e(all) - e(text and image dropped))
              + boxes (e(all) - e(boxes dropped))

    The first line is the published formula, the rest is 0 by default. As everywhere in diffusers, text guidance is off
    at scales of 1 and below. What is off costs no branch.
    """

    text: float = 7.5
    image: float = 0.0
    text_image: float = 0.0
    boxes: float = 0.0

    def branches(self) -> dict[str, dict[str, bool]]:
        """The needed predictions and what each drops; "all", which drops nothing, comes last."""
        needed = {"text": self.text > 1, "image": self.image, "text_image": self.text_image, "boxes": self.boxes}
        return {name: drops for name, drops in _DROPS.items() if needed[name]} | {"all": {}}

    @property
    def drops_text(self) -> bool:
        """Whether a prediction with the null text is needed."""
        return any("text" in drops for drops in self.branches().values())

    def combine(self, eps: dict[str, Tensor]) -> Tensor:
        """Apply the formula to the predictions of `branches()`, each of the same shape."""
        full = guided = eps["all"]
        if "text" in eps:
            guided = eps["text"] + self.text * (full - eps["text"])
        for name, scale in (("image", self.image), ("text_image", self.text_image), ("boxes", self.boxes)):
            if name in eps:
                guided = guided + scale * (full - eps[name])
        return guided


class GuidedDenoiser:
    """The guided prediction (noise, or velocity) for a batch of clips, step after step, under one set of conditions.

    What does not depend on the step (object and image tokens, and the keys and values of text, objects and image) is
    computed once. With `low_memory` the branches run one after the other instead of as one batch; same result.
    """

    def __init__(
        self, unet: SMCDUNet3D, position_net: nn.Module | None, image_encoder: nn.Module | None, low_memory: bool
    ):
        self.unet, self.position_net, self.image_encoder = unet, position_net, image_encoder
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
        """The guided prediction, float32, for noisy latents `sample` (B 4 F h w)."""
        eps: dict[str, Tensor] = {}
        for names, inputs in self._calls:
            batch = sample.to(self.unet.dtype).repeat(len(names), 1, 1, 1, 1)  # (branches B) 4 F h w
            predicted = self.unet(batch, timestep, **inputs, return_dict=False)[0]
            eps |= zip(names, predicted.to(torch.float32).chunk(len(names)), strict=True)
        return self.guidance.combine(eps)
