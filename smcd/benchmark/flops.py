"""Floating-point operations of a piece of work, and how many the device can do in a second."""

import statistics
import time
from collections.abc import Callable

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

_SIDE = {"cpu": 2048, "cuda": 8192}  # of the square matrices


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
    """The same for work that has to be done, since it computes gradients."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def ceiling(device: torch.device, dtype: torch.dtype, repeats: int = 7) -> float:
    """Operations a second of a large matrix product: the median."""
    side = _SIDE["cuda" if device.type == "cuda" else "cpu"]
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(repeats + 1):
        synchronize(device)
        start = time.perf_counter()
        a @ b
        synchronize(device)
        seconds.append(time.perf_counter() - start)
    return 2 * side**3 / statistics.median(seconds[1:])
