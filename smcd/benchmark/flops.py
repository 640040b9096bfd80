"""Floating-point operations of a piece of work, and how many the device can do in a second."""

import time
from collections.abc import Callable

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

_SIDE = {"cpu": 2048, "cuda": 8192}  # of the square matrices
_LONG_ENOUGH = 1.0  # seconds: what else a machine does comes in bursts


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def count(work: Callable[[], object]) -> int:
    """Operations of matrix products and convolutions, a multiplication and an addition being two; nothing is computed.

    Attention counts as its two matrix products: torch's counter does not know the fused kernel of CPUs.
    """
    with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True), sdpa_kernel(SDPBackend.MATH):
        return count_real(work)


def count_real(work: Callable[[], object]) -> int:
    """The same for work that has to be done, since it computes gradients.

    Compiled layers compute as if they were not: torch's modes see nothing of what is inside.
    """
    with torch.compiler.set_stance("force_eager"), FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def ceiling(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of a large matrix product: the best of those in a second."""
    side = _SIDE["cuda" if device.type == "cuda" else "cpu"]
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    seconds: list[float] = []
    while len(seconds) < 8 or sum(seconds) < _LONG_ENOUGH:
        synchronize(device)
        start = time.perf_counter()
        a @ b
        synchronize(device)
        seconds.append(time.perf_counter() - start)
    return 2 * side**3 / min(seconds)
