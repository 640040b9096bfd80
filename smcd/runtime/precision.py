"""Which 16-bit precision a CPU can compute in."""

import logging

import torch

logger = logging.getLogger(__name__)


def cpu_computes_bfloat16() -> bool:
    """Whether oneDNN has bfloat16 for this CPU; without it, bfloat16 takes many times as long as float32."""
    try:
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    except (AttributeError, RuntimeError):  # torch without oneDNN
        return False


def usable_precision(mixed_precision: str, device_type: str) -> str:
    """`mixed_precision` ("no", "fp16", "bf16"); or "no", with a warning, if a CPU cannot compute in it."""
    if device_type != "cpu" or mixed_precision == "no":
        return mixed_precision
    bfloat16 = cpu_computes_bfloat16()
    if mixed_precision == "bf16" and bfloat16:
        return mixed_precision
    other = " (bf16 can be chosen)" if bfloat16 else ""
    logger.warning(f"{mixed_precision} is slow on this CPU: using float32{other}")
    return "no"
