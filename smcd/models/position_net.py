"""PositionNet: one token per object and frame, from its box and the phrase that names it."""

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

_FREQUENCIES = 8
_FOURIER_DIM = _FREQUENCIES * 2 * 4  # sin and cos of four coordinates at each frequency


def fourier_features(boxes: Tensor) -> Tensor:
    """Fourier features of boxes (... 4), xyxy in 0..1: (... 64).

    For each of the frequencies f = 100^(k/8): sin(f x1), sin(f y1), sin(f x2), sin(f y2), then the cosines. They
    reach 56, so that half precision would blur the box: always float32.
    """
    exponents = torch.arange(_FREQUENCIES, dtype=torch.float32, device=boxes.device) / _FREQUENCIES
    angles = (100.0**exponents)[:, None] * boxes.float()[..., None, :]  # ... 8 4
    return torch.stack([angles.sin(), angles.cos()], dim=-2).flatten(-3)  # ... (8 sin|cos 4)


class Float32Linear(nn.Linear):
    """A linear layer that computes in float32 whatever its weights were cast to."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x.float(), self.weight.float(), self.bias.float())


class PositionNet(ModelMixin, ConfigMixin):
    """Turns boxes and phrases into the object tokens that the object gate attends to; the form is GLIGEN's.

    It always computes in float32, whatever the precision of the rest.
    """

    _keep_in_fp32_modules = ["null_phrase", "null_box", "linears"]

    @register_to_config
    def __init__(self, phrase_dim: int = 1024, out_dim: int = 1024):
        super().__init__()
        self.null_phrase = nn.Parameter(torch.zeros(phrase_dim))
        self.null_box = nn.Parameter(torch.zeros(_FOURIER_DIM))
        self.linears = nn.Sequential(
            Float32Linear(phrase_dim + _FOURIER_DIM, 512),
            nn.SiLU(),
            Float32Linear(512, 512),
            nn.SiLU(),
            Float32Linear(512, out_dim),
        )

    def forward(
        self, boxes: Tensor, masks: Tensor, phrase_embeddings: Tensor, return_dict: bool = True
    ) -> Tensor | tuple[Tensor]:
        """Object tokens (... N out_dim), float32.

        Args:
            boxes: ... N 4, xyxy in 0..1.
            masks: ... N, 0 where the object is absent: its phrase and box are replaced by learned null vectors.
            phrase_embeddings: ... N C, or anything that broadcasts to it.
            return_dict: False returns a tuple, as in diffusers.
        """
        with torch.autocast(boxes.device.type, enabled=False):
            present = masks.bool()[..., None]
            box = torch.where(present, fourier_features(boxes), self.null_box.float())
            phrase = torch.where(present, phrase_embeddings.float(), self.null_phrase.float())
            tokens = self.linears(torch.cat([phrase, box], dim=-1))
        return tokens if return_dict else (tokens,)
