"""Reading checkpoint files safely and without a copy, and finding folders on disk or on the hub."""

import pickle
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors.torch import load_file
from torch import Tensor

from smcd.runtime.built_in import BUILT_IN
from smcd.runtime.errors import InputError, first_line

PUBLISHED_FILES = {
    "unet": "pytorch_model.bin",
    "position_net": "pytorch_model_1.bin",
    "visual_encoder": "pytorch_model_2.bin",
}
_PARTS = ("unet", "position_net", "image_encoder", "vae", "text_encoder", "tokenizer", "scheduler")
_PATTERNS = [
    "model_index.json",
    *(f"{part}/*" for part in _PARTS),
    *(prefix + name for name in PUBLISHED_FILES.values() for prefix in ("", "*/")),
]
_HALF = ["*.fp16.*"]  # the same weights again
_PASSES = 16


def load_tensors(path: Path, below: str | None = None, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """Tensors of a .bin, .pth, .pt or .safetensors file, by name: memory-mapped, or cast to `dtype`.

    Args:
        below: the key under which a pickled file keeps its tensors, if it has that key.
        dtype: the result's; None keeps the file's, memory-mapped. A cast holds little of the file at a time.

    Raises:
        InputError: a file that is missing, broken, holds something other than tensors, or could run code when read.
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
    try:
        content: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        )
    except MemoryError:
        raise
    except Exception as error:  # a broken file can make the unpickler raise anything
        if isinstance(error, pickle.UnpicklingError) and "nsupported" in str(error):
            raise InputError(
                f"{path}: holds more than tensors, and reading it could run code; "
                "use the diffusers folder of the same weights (ali-vilab/text-to-video-ms-1.7b)"
            ) from None
        reason = first_line(error)[:200]
        raise InputError(
            f"{path}: cannot be read as a tensor file ({reason}); download it again (or, if it was written by torch "
            "before 1.6, load it and save it again with torch.save), or use the diffusers folder of the same weights"
        ) from None
    if below is not None and isinstance(content, dict) and below in content:
        content = content[below]
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds a {type(content).__name__}, not named tensors")
    if strays := [str(n) for n, value in content.items() if not (isinstance(n, str) and isinstance(value, Tensor))]:
        raise InputError(f"{path}: entries that are not named tensors: {', '.join(strays)}")
    return content


def local_folder(path_or_id: str, patterns: list[str] = _PATTERNS) -> Path:
    """The folder itself, the built-in model of that name, or a download of the hub repository of that name.

    Args:
        patterns: which of the repository's files are needed.

    Raises:
        InputError: neither exists, or the hub cannot be reached.
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
    try:
        return Path(snapshot_download(path_or_id, allow_patterns=patterns, ignore_patterns=_HALF))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = first_line(error)
        raise InputError(
            f"{path_or_id}: no such folder, and the hub does not give it ({reason}); docs/checkpoints.md says where "
            "weights come from"
        ) from None
