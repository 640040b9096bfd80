"""The two gates of SMCD, which sit in every spatial transformer: one for objects and one for the first frame."""

import torch
from torch import Tensor, nn

from smcd.models.attention import Attention, FeedForward, KeyValue, KeyValueCache


class Gate(nn.Module):
    """Attention from the frames to tokens of another kind, then feed-forward, each behind a gate:

        x <- x + tanh(alpha_attn)  * Attn(LN(x), W tokens)
        x <- x + tanh(alpha_dense) * GEGLU-FF(LN(x))

    Both alphas start at 0: a fresh gate is the identity. `dim` and `token_dim` are the channels of x and of the tokens.
    """

    def __init__(self, dim: int, token_dim: int, head_dim: int):
        super().__init__()
        self.proj = nn.Linear(token_dim, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, heads=dim // head_dim, head_dim=head_dim)
        self.norm2 = nn.LayerNorm(dim)
        self.ff = FeedForward(dim)
        self.alpha_attn = nn.Parameter(torch.zeros(()))
        self.alpha_dense = nn.Parameter(torch.zeros(()))

    def project(self, tokens: Tensor) -> Tensor:
        """What the keys and values are made from."""
        return self.proj(tokens)

    def attend(self, x: Tensor, tokens: KeyValue, bias: Tensor | None) -> Tensor:
        """Attention from normalized frames ((B F) L C)."""
        return self.attn(x, tokens, bias)

    def key_value(self, tokens: Tensor, cache: KeyValueCache | None) -> KeyValue:
        """Keys and values of the tokens, which do not depend on the denoising step."""
        return self.attn.cached_key_value(cache, lambda: self.project(tokens))

    def forward(self, x: Tensor, tokens: KeyValue, bias: Tensor | None = None) -> Tensor:  # x: (B F) L C
        x = x + self.alpha_attn.tanh() * self.attend(self.norm1(x), tokens, bias)
        return x + self.alpha_dense.tanh() * self.ff(self.norm2(x))


class ImageGate(Gate):
    """Image-gated cross-attention, half of the paper's Dual Image Integration Module (the other is the zero conv).

    The tokens are the image encoder's, projected and not normalized.
    """


class ObjectGate(Gate):
    """Object-gated self-attention, the paper's Motion Integration Module.

    The tokens are PositionNet's. Frames and objects attend together, and the frames' part of the result is kept:
    SelfAttn(LN(concat[x; W objects]))[: len(x)]. LN works token by token, so LN(concat[x; o]) = concat[LN(x); LN(o)]:
    only visual tokens need queries, and the keys and values of the objects can be cached.
    """

    def project(self, tokens: Tensor) -> Tensor:
        return self.norm1(self.proj(tokens))

    def attend(self, x: Tensor, tokens: KeyValue, bias: Tensor | None) -> Tensor:
        key, value = self.attn.key_value(x)
        joint = torch.cat([key, tokens[0]], 1), torch.cat([value, tokens[1]], 1)
        if bias is not None:
            bias = nn.functional.pad(bias, (x.shape[1], 0))  # (B F) 1 1 (L + N): visual tokens are always seen
        return self.attn(x, joint, bias)
