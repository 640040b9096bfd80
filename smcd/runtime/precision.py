"""Which 16-bit precision a CPU can compute in."""

import functools
import logging
import time

import torch

logger = logging.getLogger(__name__)

_SIDE, _TURNS = 512, 5  # of the products that are measured: 10 ms in all
_FASTER = 1.2  # than float32: bfloat16 instructions make it 2 to 8, without them it is far below 1


def cpu_computes_bfloat16() -> bool:
    """Whether this CPU has instructions for bfloat16, so that its products are faster than those in float32.

    oneDNN also computes in bfloat16 on CPUs without them, which takes many times as long.
    """
    try:
        supported = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    except (AttributeError, RuntimeError):  # torch without oneDNN
        return False
    return supported and _speed_of(torch.bfloat16) > _FASTER * _speed_of(torch.float32)


@functools.cache
def _speed_of(dtype: torch.dtype) -> float:
    """GFLOP/s of matrix products on the CPU, the best of a few."""
    a, b = (torch.ones(_SIDE, _SIDE, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(_TURNS):
        start = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - start)
    return 2 * _SIDE**3 / min(seconds) / 1e9


def usable_precision(mixed_precision: str, device_type: str) -> str:
    """`mixed_precision` ("no", "fp16", "bf16"); or "no", with a warning, if a CPU is slow in it."""
    if device_type != "cpu" or mixed_precision == "no":
        return mixed_precision
    bfloat16 = cpu_computes_bfloat16()
    if mixed_precision == "bf16" and bfloat16:
        speeds = (_speed_of(torch.bfloat16), _speed_of(torch.float32))
        logger.info("precision bf16: matrix products reach %.0f GFLOP/s, those in float32 %.0f", *speeds)
        return mixed_precision
    other = " (bf16 can be chosen)" if bfloat16 else ""
    logger.warning(f"{mixed_precision} is slow on this CPU: using float32{other}")
    return "no"
