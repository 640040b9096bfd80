"""The UNet's down, middle and up blocks, over diffusers' resnets, temporal convolutions and samplers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D, TemporalConvLayer
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

from smcd.models.transformers import Context, SpatialTransformer, TemporalTransformer


@dataclass(frozen=True)
class BlockConfig:
    """What all blocks of one network share."""

    time_dim: int
    head_dim: int
    text_dim: int
    object_dim: int | None  # None: no object gate
    image_token_dim: int | None  # None: no image gate
    dropout: float


class UNetBlock(nn.Module):
    """A list of layers, each: resnet, temporal convolution and, with attention, a spatial and a temporal transformer.

    `in_channels` enter the resnets, `channels` leave every layer; the first `attentions` layers have transformers.
    """

    def __init__(self, in_channels: list[int], channels: int, attentions: int, config: BlockConfig):
        super().__init__()
        heads, dropout = channels // config.head_dim, config.dropout
        options: dict[str, Any] = {"temb_channels": config.time_dim, "eps": 1e-5, "dropout": dropout}
        self.resnets = nn.ModuleList(
            ResnetBlock2D(in_channels=width, out_channels=channels, **options) for width in in_channels
        )
        self.temp_convs = nn.ModuleList(TemporalConvLayer(channels, channels, dropout) for _ in in_channels)
        self.attentions = nn.ModuleList(
            SpatialTransformer(channels, config.head_dim, config.text_dim, config.object_dim, config.image_token_dim)
            for _ in range(attentions)
        )
        self.temp_attentions = nn.ModuleList(
            TemporalTransformer(channels, heads, config.head_dim) for _ in range(attentions)
        )
        self.gradient_checkpointing = False
        self._gradient_checkpointing_func: Callable[..., Tensor]  # set with gradient_checkpointing by ModelMixin

    def _layer(self, index: int, x: Tensor, time: Tensor, context: Context) -> Tensor:
        x = self.resnets[index](x, time)
        if context.temporal:
            x = self.temp_convs[index](x, num_frames=context.frames)
        if index < len(self.attentions):
            attention: Any = self.attentions[index]
            x = attention(x, attention.conditioning(context))
            if context.temporal:
                x = self.temp_attentions[index](x, context.frames)
        return x

    def layer(self, index: int, x: Tensor, time: Tensor, context: Context) -> Tensor:
        """Run layer `index` on x ((B F) C h w), with its activations recomputed in backward when checkpointing."""
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return self._gradient_checkpointing_func(self._layer, index, x, time, context)
        return self._layer(index, x, time, context)


class DownBlock(UNetBlock):
    """`layers` layers, then a stride-2 convolution unless it is the last level."""

    def __init__(self, in_channels: int, channels: int, layers: int, attention: bool, last: bool, config: BlockConfig):
        super().__init__([in_channels] + [channels] * (layers - 1), channels, layers if attention else 0, config)
        self.downsamplers = nn.ModuleList([] if last else [Downsample2D(channels, use_conv=True, name="op")])

    def forward(self, x: Tensor, time: Tensor, context: Context) -> tuple[Tensor, list[Tensor]]:
        """Returns the output and every intermediate result that the up path will take."""
        skips = []
        for index in range(len(self.resnets)):
            x = self.layer(index, x, time, context)
            skips.append(x)
        for downsampler in self.downsamplers:
            x = downsampler(x)
            skips.append(x)
        return x, skips


class MidBlock(UNetBlock):
    """Two layers, the first with transformers."""

    def __init__(self, channels: int, config: BlockConfig):
        super().__init__([channels, channels], channels, 1, config)

    def forward(self, x: Tensor, time: Tensor, context: Context) -> Tensor:
        for index in range(len(self.resnets)):
            x = self.layer(index, x, time, context)
        return x


class UpBlock(UNetBlock):
    """Layers that each take one skip connection (widths `skip_channels`), then an upsampling unless it is the last."""

    def __init__(
        self,
        in_channels: int,
        skip_channels: list[int],
        channels: int,
        attention: bool,
        last: bool,
        config: BlockConfig,
    ):
        entering = [in_channels] + [channels] * (len(skip_channels) - 1)
        widths = [a + b for a, b in zip(entering, skip_channels, strict=True)]
        super().__init__(widths, channels, len(widths) if attention else 0, config)
        self.upsamplers = nn.ModuleList([] if last else [Upsample2D(channels, use_conv=True)])

    def forward(self, x: Tensor, skips: list[Tensor], time: Tensor, context: Context) -> Tensor:
        for index, skip in enumerate(skips):
            x = self.layer(index, torch.cat([x, skip], dim=1), time, context)
        for upsampler in self.upsamplers:
            x = upsampler(x)
        return x
