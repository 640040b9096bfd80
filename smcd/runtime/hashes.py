"""Hashes of files, and one that identifies weights, wherever their files are."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content: a second for each GB, or two."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_hash(tensors: Mapping[str, Tensor], rounded: bool = False) -> str:
    """SHA-256 over names, shapes and values of all tensors.

    `rounded` to float16, weights loaded in float16 give the same hash; take it before you cast to bfloat16.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        if rounded and tensor.is_floating_point():
            tensor = tensor.half()
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
