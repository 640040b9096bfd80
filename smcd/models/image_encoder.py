"""The image encoder: the first frame's latents become the tokens that the image gate attends to.

It has no norms, so a fresh one starts with convolutions that keep the variance of what they are given. As torch starts
them, they would leave nothing of the picture but their own biases: the tokens of two pictures would differ by less than
a hundredth of what they have in common, and the image gate would stay blind for long.
"""

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange
from torch import Tensor, nn

BLOCKS_PER_LEVEL = 3


def _conv(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="linear")
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv


def _start_pointwise(conv: nn.Conv2d) -> None:
    """Orthogonal at the center, zero around it (Xiao et al., 2018, arXiv 1806.05393).

    It keeps the variance at every size; in small maps most of a kernel lies in the padding.
    """
    out_channels, in_channels = conv.weight.shape[:2]
    # Drawn in float32, whatever the weights are: there is no QR in 16 bits.
    center = torch.empty(out_channels, in_channels, dtype=torch.float32, device=conv.weight.device)
    nn.init.orthogonal_(center, gain=max(1.0, out_channels / in_channels) ** 0.5)
    nn.init.zeros_(conv.weight)
    with torch.no_grad():
        conv.weight[:, :, 1, 1].copy_(center)


class EncoderBlock(nn.Module):
    """h = conv_in(x), of half the size where `downsample`; out = h + conv2(ReLU(conv1(h)))."""

    def __init__(self, in_channels: int, channels: int, downsample: bool):
        super().__init__()
        self.downsample = _conv(in_channels, in_channels, stride=2) if downsample else None
        self.conv_in = _conv(in_channels, channels)
        self.conv1 = _conv(channels, channels)
        self.conv2 = _conv(channels, channels)
        _start_pointwise(self.conv_in)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        if self.downsample is not None:
            x = self.downsample(x)
        h = self.conv_in(x)
        return h + self.conv2(self.conv1(h).relu())


class ImageEncoder(ModelMixin, ConfigMixin):
    """Four levels of three residual blocks, halving the size between levels, for the Dual Image Integration Module.

    `channels` are the widths of the levels; the last is the width of the tokens.
    """

    @register_to_config
    def __init__(self, channels: tuple[int, ...] = (256, 512, 1024, 1024), in_channels: int = 4):
        super().__init__()
        self.conv_in = _conv(in_channels, channels[0])
        self.blocks = nn.ModuleList()
        entering = channels[0]
        for level, width in enumerate(channels):
            for index in range(BLOCKS_PER_LEVEL):
                self.blocks.append(EncoderBlock(entering, width, downsample=level > 0 and index == 0))
                entering = width

    def forward(self, latents: Tensor, return_dict: bool = True) -> Tensor | tuple[Tensor]:
        """Tokens (B L C), row by row, of latents (B 4 h w); 16 tokens for 32 x 32 latents.

        `return_dict=False` returns a tuple, as in diffusers.
        """
        x = self.conv_in(latents)
        for block in self.blocks:
            x = block(x)
        tokens = rearrange(x, "b c h w -> b (h w) c")
        return tokens if return_dict else (tokens,)
