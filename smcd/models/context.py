"""What the transformers see besides the frames, and the cache of the keys and values made of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

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


@dataclass
class Context:
    """What the transformers see besides the frames, the same for every layer of one UNet call.

    Attributes:
        text: prompt embeddings, B 77 C_text.
        objects: PositionNet's tokens, (B F) N C_obj; None skips the object gate.
        object_bias: 0 for a token and -inf for a slot that only fills the batch, (B F) 1 1 N; None without padding.
        image_tokens: the image encoder's tokens, B L C_img; None skips the image gate.
        frames: F.
        temporal: False bypasses every temporal layer.
        cache: keys and values of these conditions; None computes them anew.
    """

    text: Tensor
    objects: Tensor | None = None
    object_bias: Tensor | None = None
    image_tokens: Tensor | None = None
    frames: int = 1
    temporal: bool = True
    cache: KeyValueCache | None = None


class Conditioning(NamedTuple):
    """What one spatial transformer attends to besides the frames: keys and values, made of `Context`."""

    text: KeyValue
    objects: KeyValue | None  # None skips the object gate
    object_bias: Tensor | None
    image: KeyValue | None  # None skips the image gate
