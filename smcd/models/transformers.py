"""The UNet's transformers: the spatial one with both gates, and the temporal one.

Tensor names are those of diffusers' `UNet3DConditionModel`, so that base weights load by name.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from einops import rearrange
from torch import Tensor, nn

from smcd.models.attention import Attention, FeedForward, KeyValue, KeyValueCache
from smcd.models.gates import ImageGate, ObjectGate


@dataclass
class Context:
    """What the transformers see besides the frames, the same for every layer of one UNet call."""

    text: Tensor  # B 77 C_text
    objects: Tensor | None = None  # PositionNet's tokens, (B F) N C_obj; None skips the object gate
    object_bias: Tensor | None = None  # (B F) 1 1 N, -inf for a slot that only fills the batch, else 0
    image_tokens: Tensor | None = None  # the image encoder's, B L C_img; None skips the image gate
    frames: int = 1
    temporal: bool = True  # False bypasses every temporal layer
    cache: KeyValueCache | None = None  # keys and values of these conditions


class Conditioning(NamedTuple):
    """What one spatial transformer attends to besides the frames: keys and values, made of `Context`."""

    text: KeyValue
    objects: KeyValue | None  # None skips the object gate
    object_bias: Tensor | None
    image: KeyValue | None  # None skips the image gate


class SpatialBlock(nn.Module):
    """Self-attention, object gate, image gate, text cross-attention, feed-forward: each added to its input."""

    def __init__(self, dim: int, head_dim: int, text_dim: int, object_dim: int | None, image_token_dim: int | None):
        super().__init__()
        heads = dim // head_dim
        self.norm1 = nn.LayerNorm(dim)
        self.attn1 = Attention(dim, heads=heads, head_dim=head_dim)
        self.object_gate = ObjectGate(dim, object_dim, head_dim) if object_dim else None
        self.image_gate = ImageGate(dim, image_token_dim, head_dim) if image_token_dim else None
        self.norm2 = nn.LayerNorm(dim)
        self.attn2 = Attention(dim, text_dim, heads=heads, head_dim=head_dim)
        self.norm3 = nn.LayerNorm(dim)
        self.ff = FeedForward(dim)

    def conditioning(self, context: Context) -> Conditioning:
        """Outside of `forward`, so that what is compiled sees tensors and no cache."""
        objects = image = None
        if self.object_gate is not None and context.objects is not None:
            objects = self.object_gate.key_value(context.objects, context.cache)
        if self.image_gate is not None and context.image_tokens is not None:
            image = self.image_gate.key_value(context.image_tokens, context.cache)
        text = self.attn2.cached_key_value(context.cache, lambda: context.text)
        return Conditioning(text, objects, context.object_bias, image)

    def forward(self, x: Tensor, conditioning: Conditioning) -> Tensor:  # x: (B F) L C
        text, objects, object_bias, image = conditioning
        h = self.norm1(x)
        x = x + self.attn1(h, self.attn1.key_value(h))
        if self.object_gate is not None and objects is not None:
            x = self.object_gate(x, objects, object_bias)
        if self.image_gate is not None and image is not None:
            x = self.image_gate(x, image)
        x = x + self.attn2(self.norm2(x), text)
        return x + self.ff(self.norm3(x))


class TemporalBlock(nn.Module):
    """Two self-attentions over the frames of one place, then feed-forward (as in ModelScope's text-to-video)."""

    def __init__(self, dim: int, heads: int, head_dim: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn1 = Attention(dim, heads=heads, head_dim=head_dim)
        self.norm2 = nn.LayerNorm(dim)
        self.attn2 = Attention(dim, heads=heads, head_dim=head_dim)
        self.norm3 = nn.LayerNorm(dim)
        self.ff = FeedForward(dim)

    def forward(self, x: Tensor) -> Tensor:  # (B h w) F C
        h = self.norm1(x)
        x = x + self.attn1(h, self.attn1.key_value(h))
        h = self.norm2(x)
        x = x + self.attn2(h, self.attn2.key_value(h))
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    """Attention within each frame, and from each frame to its objects, the first frame and the text."""

    def __init__(self, channels: int, head_dim: int, text_dim: int, object_dim: int | None, image_dim: int | None):
        super().__init__()
        self.norm = nn.GroupNorm(32, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList([SpatialBlock(channels, head_dim, text_dim, object_dim, image_dim)])
        self.proj_out = nn.Linear(channels, channels)

    def conditioning(self, context: Context) -> Conditioning:
        block: Any = self.transformer_blocks[0]
        return block.conditioning(context)

    def forward(self, x: Tensor, conditioning: Conditioning) -> Tensor:  # (B F) C h w
        h = rearrange(self.norm(x), "bf c h w -> bf (h w) c")
        h = self.transformer_blocks[0](self.proj_in(h), conditioning)
        return x + rearrange(self.proj_out(h), "bf (h w) c -> bf c h w", h=x.shape[2])


class TemporalTransformer(nn.Module):
    """Attention across the frames, for each place on its own."""

    def __init__(self, channels: int, heads: int, head_dim: int):
        super().__init__()
        self.norm = nn.GroupNorm(32, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, heads * head_dim)
        self.transformer_blocks = nn.ModuleList([TemporalBlock(heads * head_dim, heads, head_dim)])
        self.proj_out = nn.Linear(heads * head_dim, channels)

    def forward(self, x: Tensor, frames: int) -> Tensor:  # (B F) C h w
        h = self.norm(rearrange(x, "(b f) c h w -> b c f h w", f=frames))  # statistics over all frames of a clip
        h = rearrange(h, "b c f h w -> (b h w) f c")
        h = self.transformer_blocks[0](self.proj_in(h))
        h = rearrange(self.proj_out(h), "(b h w) f c -> (b f) h w c", h=x.shape[2], w=x.shape[3])
        return x + h.permute(0, 3, 1, 2)  # a view, where channels lie last as they do in x
