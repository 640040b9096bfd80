"""VAE latents and text embeddings of whole videos on disk, so that training need not decode and encode.

`FOLDER/<dataset>-<size>-<key>/` holds `settings.json`, shards of `SHARD` videos and, once all of them are there,
`index.json`. The key is a hash of the encoders' weights and of the settings: latents of another VAE or size are never
taken.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from smcd.data.clips import Video, VideoSource
from smcd.data.files import read_json
from smcd.errors import InputError
from smcd.files import new_file

SHARD = 32  # videos of a shard
_FORMAT = 1


def weights_hash(module: nn.Module) -> str:
    """A hash of names and weights; weights are rounded to half precision, so that loading in it gives the same."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        if tensor.is_floating_point():
            tensor = tensor.half()
        digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:32]


def cache_settings(
    vae: str, text_encoder: str, source: VideoSource, height: int, width: int, resize: str
) -> dict[str, Any]:
    """What latents and embeddings depend on; `vae` and `text_encoder` are hashes of the weights."""
    return {
        "format": _FORMAT,
        "dataset": source.name,
        "vae": vae,
        "text_encoder": text_encoder,
        "height": height,
        "width": width,
        "resize": resize,
    }


def cache_folder(folder: Path, settings: dict[str, Any]) -> Path:
    """Where the cache with these settings lies below `folder`."""
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
    return folder / f"{settings['dataset'].replace('/', '-')}-{settings['width']}x{settings['height']}-{key}"


class CacheWriter:
    """Writes a cache shard by shard; shards that are there already are left as they are.

    Args:
        folder: `cache_folder`.
        settings: `cache_settings`.
        names: of all videos.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], names: list[str]):
        self.folder, self.names = folder, names
        self.shards = [names[start : start + SHARD] for start in range(0, len(names), SHARD)]
        with new_file(folder / "settings.json") as path:
            path.write_text(json.dumps(settings, indent=1))

    def missing(self) -> list[int]:
        """Numbers of the shards that are not there, or hold other videos."""
        return [number for number in range(len(self.shards)) if not self._is_written(number)]

    def _path(self, number: int) -> Path:
        return self.folder / f"shard-{number:05d}.safetensors"

    def _is_written(self, number: int) -> bool:
        try:
            return set(_read_header(self._path(number))) == set(self.shards[number])
        except InputError:
            return False

    def write(self, number: int, videos: dict[str, dict[str, Any]]) -> None:
        """One shard: of each video `latent_mean`, `latent_std` (4 F h w), `text` (77 C), `phrase_embeddings` (N C),
        and the texts `prompt` and `phrases`; of a broken one the reason, `dropped`."""
        tensors, header = {"-": torch.zeros(1)}, {}  # a file without tensors would not be valid
        for name, content in videos.items():
            if "dropped" in content:
                header[name] = content
                continue
            for key in ("latent_mean", "latent_std"):  # frames first: a clip is one piece of the file
                tensors[f"{name}/{key}"] = content[key].transpose(0, 1).contiguous().cpu()
            for key in ("text", "phrase_embeddings"):
                tensors[f"{name}/{key}"] = content[key].contiguous().cpu()
            header[name] = {key: content[key] for key in ("prompt", "phrases")}
        with new_file(self._path(number)) as path:
            save_file(tensors, path, {"videos": json.dumps(header)})

    def finish(self) -> dict[str, str]:
        """Write the index, which makes the cache readable; to be called once all shards are there.

        Returns:
            Videos that are not in the cache, with the reason.
        """
        if missing := self.missing():
            raise InputError(f"{self.folder}: shards {missing[:5]} are missing; run the same command again")
        index: dict[str, int] = {}
        dropped: dict[str, str] = {}
        for number in range(len(self.shards)):
            for name, content in _read_header(self._path(number)).items():
                if "dropped" in content:
                    dropped[name] = content["dropped"]
                else:
                    index[name] = number
        with new_file(self.folder / "index.json") as path:
            path.write_text(json.dumps({"videos": index, "dropped": dropped}))
        return dropped


def _read_header(path: Path) -> dict[str, Any]:
    """What a shard holds. Raises an InputError for one that is not whole."""
    try:
        with safe_open(path, "pt") as file:
            return json.loads(file.metadata()["videos"])
    except (OSError, SafetensorError, TypeError, KeyError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); delete it and prepare the latents again") from None


class LatentCache:
    """Reads a cache.

    Attributes:
        dropped: videos that were broken when it was made, with the reason.

    Args:
        folder: `cache_folder`.

    Raises:
        InputError: there is no whole cache.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        if not (folder / "index.json").is_file():
            state = "is not finished" if folder.is_dir() else "does not exist"
            others = ", ".join(sorted(path.name for path in folder.parent.glob("*-*x*-*"))) or "none"
            raise InputError(
                f"{folder}: {state}; run scripts/prepare_data.py with --latents {folder.parent} and this model, size "
                f"and resize (caches there: {others})"
            )
        content = read_json(folder / "index.json")
        self._index, self.dropped = content["videos"], content["dropped"]
        self._open: dict[int, tuple[Any, dict[str, Any]]] = {}
        self._process = os.getpid()

    def __call__(self, video: Video, frames: range) -> dict[str, Tensor]:
        """`latent_mean`, `latent_std` (4 F h w) of these frames, `text` (77 C), `phrase_embeddings` (N C); float32.

        Raises:
            InputError: a video that is not there, or was prepared with another prompt, phrases or length.
        """
        if video.name not in self._index:
            raise InputError(f"{self.folder}: {video.name} is not in the cache; prepare the latents again")
        file, header = self._shard(self._index[video.name])
        for key, value in (("prompt", video.prompt), ("phrases", video.phrases)):
            if header[video.name][key] != value:
                raise self._outdated(video, f"{key} {header[video.name][key]!r}", f"{value!r}")
        content = {}
        for key in ("latent_mean", "latent_std"):
            rows = file.get_slice(f"{video.name}/{key}")
            if rows.get_shape()[0] != len(video):
                raise self._outdated(video, f"{rows.get_shape()[0]} frames", f"{len(video)}")
            content[key] = rows[frames[0] : frames[-1] + 1][:: frames.step].transpose(0, 1).float()
        for key in ("text", "phrase_embeddings"):
            content[key] = file.get_tensor(f"{video.name}/{key}").float()
        return content

    def _outdated(self, video: Video, then: str, now: str) -> InputError:
        return InputError(
            f"{self.folder}: {video.name} was prepared with {then}, but {video.where} gives {now}; delete the folder "
            "and prepare the latents again"
        )

    def _shard(self, number: int) -> tuple[Any, dict[str, Any]]:
        if self._process != os.getpid():  # a worker opens its own
            self._open, self._process = {}, os.getpid()
        if number not in self._open:
            path = self.folder / f"shard-{number:05d}.safetensors"
            header = _read_header(path)  # an error says what to do
            self._open[number] = safe_open(path, "pt"), header
        return self._open[number]
