"""torch.compile for sampling: the transformers, one graph for each kind, reused by all layers of the same shape."""

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

logger = logging.getLogger(__name__)


def compile_transformers(network: Any, mode: str = "default") -> None:
    """Compile every spatial and temporal transformer of a UNet (ours, or diffusers'), with static shapes.

    The first call of every new shape compiles, which takes from seconds to minutes, and says so in the log.

    Args:
        mode: torch.compile's; on a GPU "reduce-overhead" and "max-autotune" replay CUDA graphs. The keys and values of
            the conditions are computed outside of what is compiled, so that a graph has no cache to fill; and what a
            graph gives is used up within the UNet's call, so that the next call may overwrite it.
    """
    network.compile_repeated_blocks(fullgraph=True, dynamic=False, mode=mode)
    network.register_forward_pre_hook(_announcement(), with_kwargs=True)
    network.register_forward_pre_hook(lambda *_: torch.compiler.cudagraph_mark_step_begin())


def _announcement() -> Callable[[nn.Module, tuple, dict[str, Any]], None]:
    """A hook that says when a call has shapes that no call had before."""
    seen: set[tuple] = set()

    def announce(_: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        shapes = tuple(tuple(tensor.shape) for tensor in tensors)
        if shapes not in seen:
            seen.add(shapes)
            logger.info(f"compiling for latents of {' x '.join(map(str, shapes[0]))}: this call takes longer")

    return announce
