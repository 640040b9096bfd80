"""Reading checkpoint files safely and without a copy, and finding folders on disk or on the hub."""

import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from smcd.runtime.built_in import BUILT_IN
from smcd.runtime.errors import InputError, first_line
from smcd.runtime.hub import hub_folder

PUBLISHED_FILES = {"unet": "pytorch_model.bin"}
PUBLISHED_FILES |= {"position_net": "pytorch_model_1.bin", "visual_encoder": "pytorch_model_2.bin"}
_PARTS = ("unet", "position_net", "image_encoder", "vae", "text_encoder", "tokenizer", "scheduler")
_PATTERNS = ["model_index.json", *(f"{part}/*" for part in _PARTS)]
_PATTERNS += [prefix + name for name in PUBLISHED_FILES.values() for prefix in ("", "*/")]
_PASSES = 16


def load_tensors(path: Path, below: str | None = None, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """Tensors of a .bin, .pth, .pt or .safetensors file, by name: memory-mapped, or cast to `dtype`, little at a time.

    `below` is the key under which a pickled file may keep its tensors. Raises an InputError for a file that is missing,
    broken, holds something other than tensors, or could run code when read.
    """
    mapped = _map_tensors(path, below)
    if dtype is None or all(tensor.dtype == dtype for tensor in mapped.values()):
        return mapped
    names, cast = list(mapped), {}
    step = -(-len(names) // _PASSES)  # rounded up
    for start in range(0, len(names), step):
        mapped = _map_tensors(path, below)  # anew in each pass: what was read of a mapping stays in memory with it
        for name in names[start : start + step]:
            cast[name] = mapped[name].to(dtype) if mapped[name].is_floating_point() else mapped[name].clone()
    return cast


def _map_tensors(path: Path, below: str | None) -> dict[str, Tensor]:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    content: Any
    try:
        if path.suffix == ".safetensors":
            content = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except MemoryError:
        raise
    except Exception as error:  # a broken file can make the unpickler raise anything
        complaint = f"cannot be read as a tensor file ({first_line(error)[:200]})"
        if isinstance(error, pickle.UnpicklingError) and "nsupported" in str(error):
            complaint = "holds more than tensors, and reading it could run code"
        fix = "use the diffusers folder of the same weights, or download it again"
        raise InputError(f"{path}: {complaint}; {fix}") from None
    if isinstance(content, dict):
        content = content.get(below, content)
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds a {type(content).__name__}, not named tensors")
    if strays := [str(n) for n, value in content.items() if not (isinstance(n, str) and isinstance(value, Tensor))]:
        raise InputError(f"{path}: entries that are not named tensors: {', '.join(strays)}")
    return content


def local_folder(path_or_id: str, patterns: list[str] = _PATTERNS) -> Path:
    """The folder itself, the built-in model of that name, or a download of the hub repository of that name.

    `patterns` say which of the repository's files are needed. Raises an InputError if there is none, or no hub.
    """
    if not path_or_id.strip():
        raise InputError("a path is empty: name a folder or a hub id (is a variable of your shell not set?)")
    path = BUILT_IN.get(path_or_id, Path(path_or_id).expanduser())
    if path.is_dir():
        return path
    if path.exists():
        raise InputError(f"{path}: is a file; give the folder that holds it")
    if path_or_id[0] in "./~" or path_or_id.count("/") > 1:
        raise InputError(f"{path_or_id}: no such folder")
    return hub_folder(path_or_id, patterns)
