"""Attention of the UNet: the spatial and temporal transformers, the object gate and the image gate.

Tensor names are those of diffusers' `UNet3DConditionModel`, so that base weights load by name. Two things differ from
diffusers' layers, both for speed: frames that share keys (text, image tokens) are folded into one longer query
sequence instead of repeating the keys for each frame, and keys and values that do not depend on the denoising step
can be kept in a cache.
"""

from collections.abc import Callable
from typing import Any

import torch
from diffusers.models.attention import AttentionModuleMixin
from diffusers.models.attention_dispatch import dispatch_attention_fn
from einops import rearrange
from torch import Tensor, nn

from smcd.models.context import Conditioning, Context, KeyValue, KeyValueCache
from smcd.models.feed_forward import FeedForward


class AttentionBackend:
    """Holds what diffusers' `set_attention_backend` and `enable_xformers_...` choose; None is torch's SDPA."""

    _attention_backend = None
    _parallel_config = None


class Attention(nn.Module, AttentionModuleMixin):
    """Multi-head attention in which projecting keys and values is a step of its own.

    Args:
        dim: channels of the queries and of the output.
        context_dim: channels of what the keys and values are made from; `dim` by default.
        heads, head_dim: the inner width is their product.
    """

    _supports_qkv_fusion = False

    def __init__(self, dim: int, context_dim: int | None = None, *, heads: int, head_dim: int):
        super().__init__()
        inner_dim = heads * head_dim
        self.heads = heads
        self.to_q = nn.Linear(dim, inner_dim, bias=False)
        self.to_k = nn.Linear(context_dim or dim, inner_dim, bias=False)
        self.to_v = nn.Linear(context_dim or dim, inner_dim, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(inner_dim, dim)])  # a list of one: diffusers' tensor names
        self.processor = AttentionBackend()
        self.cache_key = ""  # the module's full name, set by the UNet

    def _split_heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1))

    def key_value(self, tokens: Tensor) -> KeyValue:
        """Keys and values of `tokens` (B L C): two tensors B L heads head_dim."""
        return self._split_heads(self.to_k(tokens)), self._split_heads(self.to_v(tokens))

    def cached_key_value(self, cache: KeyValueCache | None, tokens: Callable[[], Tensor]) -> KeyValue:
        """As `key_value`, but computed once per cache; `tokens` is called only when needed."""
        if cache is None:
            return self.key_value(tokens())
        return cache.get(self.cache_key, lambda: self.key_value(tokens()))

    def forward(self, x: Tensor, key_value: KeyValue, bias: Tensor | None = None) -> Tensor:
        """Attend from x ((B F) N C) to keys of the same batch, or of B clips that every frame of the clip shares.

        `bias` is added to the attention scores: broadcastable to batch, heads, N, L.
        """
        key, value = key_value
        query = self._split_heads(self.to_q(x))  # (B F) N heads head_dim
        query = query.reshape(key.shape[0], -1, *query.shape[2:])  # B (F N) where the keys are per clip
        out = scaled_dot_product_attention(query, key, value, bias, self.processor._attention_backend)
        return self.to_out[0](out.reshape(*x.shape[:2], -1))


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, backend: str | None
) -> Tensor:
    """softmax(q k' / sqrt(head_dim) + bias) v, all of B L heads head_dim, by the backend that was chosen.

    Training in bfloat16 on a CPU does it in float32: torch's backward is two to seven times as fast there.
    """
    if query.dtype != torch.bfloat16 or query.device.type != "cpu" or not torch.is_grad_enabled():
        return dispatch_attention_fn(query, key, value, attn_mask=bias, backend=backend)
    if bias is not None:
        bias = bias.float()
    with torch.autocast("cpu", enabled=False):
        out = dispatch_attention_fn(query.float(), key.float(), value.float(), attn_mask=bias, backend=backend)
    return out.to(query.dtype)


class ObjectGate(nn.Module):
    """Object-gated self-attention, the paper's Motion Integration Module.

        o <- W_o objects
        x <- x + tanh(alpha_attn)  * SelfAttn(LN(concat[x; o]))[: len(x)]
        x <- x + tanh(alpha_dense) * GEGLU-FF(LN(x))

    LN works token by token, so LN(concat[x; o]) = concat[LN(x); LN(o)]: only visual tokens ask, and the keys and
    values of the objects do not depend on the denoising step. Both gates start at 0: a fresh module is the identity.
    """

    def __init__(self, dim: int, object_dim: int, head_dim: int):
        super().__init__()
        self.proj = nn.Linear(object_dim, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, heads=dim // head_dim, head_dim=head_dim)
        self.norm2 = nn.LayerNorm(dim)
        self.ff = FeedForward(dim)
        self.alpha_attn = nn.Parameter(torch.zeros(()))
        self.alpha_dense = nn.Parameter(torch.zeros(()))

    def key_value(self, objects: Tensor, cache: KeyValueCache | None) -> KeyValue:
        return self.attn.cached_key_value(cache, lambda: self.norm1(self.proj(objects)))

    def forward(self, x: Tensor, of_objects: KeyValue, bias: Tensor | None) -> Tensor:
        visual = self.norm1(x)  # (B F) L C
        key_value = self.attn.key_value(visual)
        joint = torch.cat([key_value[0], of_objects[0]], 1), torch.cat([key_value[1], of_objects[1]], 1)
        if bias is not None:
            bias = nn.functional.pad(bias, (x.shape[1], 0))  # (B F) 1 1 (L + N): visual tokens are always seen
        x = x + self.alpha_attn.tanh() * self.attn(visual, joint, bias)
        return x + self.alpha_dense.tanh() * self.ff(self.norm2(x))


class ImageGate(nn.Module):
    """Image-gated cross-attention, half of the paper's Dual Image Integration Module (the other is the zero conv).

        v <- W_v image_tokens                       (no norm on v)
        x <- x + tanh(alpha_attn)  * CrossAttn(q = LN(x), kv = v)
        x <- x + tanh(alpha_dense) * GEGLU-FF(LN(x))

    Both gates start at 0: a fresh module is the identity.
    """

    def __init__(self, dim: int, image_token_dim: int, head_dim: int):
        super().__init__()
        self.proj = nn.Linear(image_token_dim, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, heads=dim // head_dim, head_dim=head_dim)
        self.norm2 = nn.LayerNorm(dim)
        self.ff = FeedForward(dim)
        self.alpha_attn = nn.Parameter(torch.zeros(()))
        self.alpha_dense = nn.Parameter(torch.zeros(()))

    def key_value(self, image_tokens: Tensor, cache: KeyValueCache | None) -> KeyValue:
        return self.attn.cached_key_value(cache, lambda: self.proj(image_tokens))

    def forward(self, x: Tensor, of_image: KeyValue) -> Tensor:
        x = x + self.alpha_attn.tanh() * self.attn(self.norm1(x), of_image)
        return x + self.alpha_dense.tanh() * self.ff(self.norm2(x))


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
