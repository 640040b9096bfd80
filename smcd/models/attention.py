"""Attention and feed-forward, the layers of every transformer and gate.

Tensor names are those of diffusers, so that base weights load by name. Two things differ from diffusers' layers, both
for speed: frames that share keys (text, image tokens) are folded into one longer query sequence instead of repeating
the keys for each frame, and keys and values that do not depend on the denoising step can be kept in a cache.
"""

from collections.abc import Callable

import torch
from diffusers.models import attention
from diffusers.models.attention import AttentionModuleMixin
from diffusers.models.attention_dispatch import dispatch_attention_fn
from torch import Tensor, nn

_TOKENS_AT_ONCE = 1024

KeyValue = tuple[Tensor, Tensor]  # each: B L heads head_dim


class KeyValueCache:
    """Keys and values of one set of conditions: filled by the first call of the UNet, read by the next ones.

    An object rather than a dict, since hooks that move arguments between devices copy dicts.
    """

    def __init__(self) -> None:
        self.entries: dict[str, KeyValue] = {}  # by the name of the attention

    def get(self, name: str, compute: Callable[[], KeyValue]) -> KeyValue:
        if name not in self.entries:
            self.entries[name] = compute()
        return self.entries[name]

    def forget(self, part: str) -> None:
        """Drop the entries of attentions with this in their names."""
        self.entries = {name: entry for name, entry in self.entries.items() if part not in name}


class AttentionBackend:
    """Holds what diffusers' `set_attention_backend` and `enable_xformers_...` choose; None is torch's SDPA."""

    _attention_backend = None
    _parallel_config = None


class Attention(nn.Module, AttentionModuleMixin):
    """Multi-head attention in which projecting keys and values is a step of its own.

    Keys and values are made from `context_dim` channels, by default as many as the queries and the output have (`dim`).
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

    def set_processor(self, processor: AttentionBackend) -> None:
        """Raises a ValueError for diffusers' attention processors: they would project keys and values by themselves."""
        if not isinstance(processor, AttentionBackend):
            kind, fix = type(processor).__name__, "choose how attention is computed by set_attention_backend"
            raise ValueError(f"processor is a {kind}, but this attention takes no processors: {fix}")
        super().set_processor(processor)

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
