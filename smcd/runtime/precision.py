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
    usable = ("no", "bf16") if cpu_computes_bfloat16() else ("no",)
    if device_type != "cpu" or mixed_precision in usable:
        return mixed_precision
    other = " (bf16 can be chosen)" if "bf16" in usable else ""
    logger.warning(f"{mixed_precision} is slow on this CPU: using float32{other}")
    return "no"
