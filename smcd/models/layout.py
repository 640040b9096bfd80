"""How the numbers of a network lie in memory; what it computes does not change."""

import torch
from torch import nn


def use_channels_last(network: nn.Module) -> None:
    """Lay the convolutions' weights out with their channels last; pictures that pass through them follow.

    On a CPU oneDNN then computes without reordering, and pictures become tokens (B C h w -> B (h w) C) without a copy.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)
        elif isinstance(layer, nn.Conv3d):
            layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last_3d)
