"""A hash by which weights are known, wherever they lie."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def weights_hash(tensors: Mapping[str, Tensor], rounded: bool = False) -> str:
    """SHA-256 over names, shapes and values of all tensors.

    Args:
        rounded: to float16, so that weights loaded in it give the same. (Not in bfloat16: it rounds further. Take the
            hash before casting to it.)
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        if rounded and tensor.is_floating_point():
            tensor = tensor.half()
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
