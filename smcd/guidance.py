"""The guidance formula, and the guided prediction: the UNet under every set of conditions that the formula needs, over
every window of a long video."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from smcd.conditions import Conditions
from smcd.models import KeyValueCache, SMCDUNet3D

_Call = tuple[list[str], dict[str, Any]]  # of the UNet: the branches that it predicts, and its arguments
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


def windows_of(num_frames: int, size: int, stride: int) -> list[range]:
    """Windows of `size` frames that cover the video, `stride` frames apart; the last one ends with the video."""
    if num_frames <= size:
        return [range(num_frames)]
    starts = [*range(0, num_frames - size, stride), num_frames - size]
    return [range(start, start + size) for start in starts]


def _importance(size: int) -> Tensor:
    """How much each frame of a window counts (F): most in the middle, where the network has seen both sides.

    As the pyramid of AnimateDiff-Evolved's context windows.
    """
    place = torch.arange(size)
    return torch.minimum(place + 1, size - place).float()


class GuidedDenoiser:
    """The guided prediction (noise, or velocity) for a batch of clips, step after step, under one set of conditions.

    A video that is longer than the network was trained with goes through overlapping `windows` (each a range of
    frames), and each frame's prediction is the weighted mean over the windows that it is in (MultiDiffusion, Bar-Tal et
    al., 2023, arXiv 2302.08113, over time). The first frame's image is a condition of every window.

    What does not depend on the step (object and image tokens, and the keys and values of text, objects and image) is
    computed once; but with several windows not the objects' keys and values, so that memory does not grow with their
    number. With `low_memory` the branches run one after the other instead of as one batch; same result.
    """

    def __init__(
        self,
        unet: SMCDUNet3D,
        position_net: nn.Module | None,
        image_encoder: nn.Module | None,
        low_memory: bool,
        windows: Sequence[range] | None = None,
    ):
        self.unet, self.position_net, self.image_encoder = unet, position_net, image_encoder
        self.low_memory, self.windows = low_memory, windows
        self.guidance = Guidance()
        self._conditions: Conditions | None = None
        self._calls: list[tuple[range, list[_Call]]] = []  # of each window

    def prepare(self, conditions: Conditions, guidance: Guidance) -> None:
        """Set conditions and guidance scales; between steps this costs nothing where they did not change."""
        drops = guidance.branches()
        unchanged = conditions is self._conditions and list(drops) == list(self.guidance.branches())
        self._conditions, self.guidance = conditions, guidance
        if unchanged:
            return
        self._calls = []
        together = [[name] for name in drops] if self.low_memory else [list(drops)]
        # Windows with the same text share their caches.
        caches: dict[tuple[int, str], KeyValueCache] = defaultdict(KeyValueCache)
        for window in self.windows or [range(conditions.boxes.shape[1])]:
            given, calls = conditions.window(window), []
            for names in together:
                batch = Conditions.cat([given.drop(**drops[name]) for name in names])
                inputs = batch.unet_inputs(self.unet.config, self.position_net, self.image_encoder)
                calls.append((names, {**inputs, "cache": caches[id(given.text), names[0]]}))
            self._calls.append((window, calls))

    def __call__(self, sample: Tensor, timestep: Tensor | int) -> Tensor:
        """The guided prediction, float32, for noisy latents `sample` (B 4 F h w)."""
        if len(self._calls) == 1:
            return self._predict(sample, timestep, self._calls[0][1])
        total = torch.zeros_like(sample, dtype=torch.float32)
        counted = total.new_zeros(sample.shape[2], 1, 1)
        for window, calls in self._calls:
            frames = slice(window.start, window.stop)
            for _, inputs in calls:
                inputs["cache"].forget(".object_gate.")
            weights = _importance(len(window)).to(total)[:, None, None]
            total[:, :, frames] += weights * self._predict(sample[:, :, frames], timestep, calls)
            counted[frames] += weights
        return total / counted

    def _predict(self, sample: Tensor, timestep: Tensor | int, calls: list[_Call]) -> Tensor:
        """The guided prediction for the frames of one window."""
        eps: dict[str, Tensor] = {}
        for names, inputs in calls:
            batch = sample.to(self.unet.dtype).repeat(len(names), 1, 1, 1, 1)  # (branches B) 4 F h w
            predicted = self.unet(batch, timestep, **inputs, return_dict=False)[0]
            eps |= zip(names, predicted.to(torch.float32).chunk(len(names)), strict=True)
        return self.guidance.combine(eps)
