"""How much memory a step's tensors take, counted without computing anything."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from smcd.training.objective import Example, TrainedNetworks


class PeakMemory(TorchDispatchMode):
    """While it is entered, counts the bytes of the tensors that operations make, on any device.

    Attributes:
        peak: the most bytes that were there at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = self._now = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence = (), kwargs: Mapping | None = None) -> Any:
        before = {leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and (storage := leaf.untyped_storage())._cdata not in before:
                before.add(storage._cdata)
                self._count(storage.nbytes())
                weakref.finalize(storage, self._count, -storage.nbytes())
        return result

    def _count(self, size: int) -> None:
        self._now += size
        self.peak = max(self.peak, self._now)


class _FusedAttention(torch.autograd.Function):
    """Attention as fused kernels do it: keeps queries, keys, values and the result, no table of scores."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        result = torch.empty_like(query)
        ctx.save_for_backward(query, key, value, result)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.empty_like(tensor) for tensor in ctx.saved_tensors[:3])


def _attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Tensor:
    return _FusedAttention.apply(query, key, value)


class _Step(nn.Module):
    """Forward and backward in one call: what is recomputed in backward needs the same stand-ins for the weights."""

    def __init__(self, networks: TrainedNetworks):
        super().__init__()
        self.networks = networks

    def forward(self, example: Example) -> None:
        self.networks(example).sum().backward()


def activations_of(networks: TrainedNetworks, make_example: Callable[[], Example], half: bool = False) -> int:
    """Peak bytes of a forward and a backward pass, beside weights and their gradients; nothing is computed.

    Args:
        make_example: a batch of the right shapes; called where tensors hold nothing.
        half: under autocast to 16 bits.
    """
    with FakeTensorMode(allow_non_fake_inputs=True):
        weights = {
            f"networks.{name}": torch.empty(
                parameter.shape, dtype=parameter.dtype, requires_grad=parameter.requires_grad
            )
            for name, parameter in networks.named_parameters()
        }
        example = make_example()
        fused = patch.object(nn.functional, "scaled_dot_product_attention", _attention)
        with fused, torch.autocast("cpu", torch.bfloat16, enabled=half), PeakMemory() as memory:
            torch.func.functional_call(_Step(networks), weights, (example,))
        gradients = sum(weight.grad.nbytes for weight in weights.values() if weight.grad is not None)
    return max(0, memory.peak - gradients)
