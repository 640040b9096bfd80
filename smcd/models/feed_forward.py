"""The feed-forward layer of every transformer."""

import torch
from diffusers.models import attention
from torch import Tensor

_TOKENS_AT_ONCE = 1024


class FeedForward(attention.FeedForward):
    """GEGLU: dim -> 4 dim, gated by as many -> dim, token by token.

    On a CPU, where nothing is kept for a backward pass, it takes `_TOKENS_AT_ONCE`: what lies between the two layers is
    eight times the input and would go to fresh memory and back, while so many tokens stay in the cache.
    """

    def __init__(self, dim: int):
        super().__init__(dim, activation_fn="geglu")

    def forward(self, x: Tensor) -> Tensor:  # ... C
        if x.device.type != "cpu" or torch.is_grad_enabled() or torch.compiler.is_compiling():
            return super().forward(x)
        parts = [super(FeedForward, self).forward(part) for part in x.reshape(-1, x.shape[-1]).split(_TOKENS_AT_ONCE)]
        return torch.cat(parts).view_as(x)
