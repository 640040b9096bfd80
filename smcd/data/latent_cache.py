"""VAE latents and text embeddings of whole videos on disk, so that training need not decode and encode.

`FOLDER/<dataset>-<size>-<key>/` holds `settings.json`, shards of `SHARD` videos and, once all of them are there,
`index.json`. The key is a hash of the encoders' weights and of the settings: latents of another VAE or size are never
taken. Each video is kept with its annotation's texts, length and fingerprint, and is not taken where these changed.
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from smcd.data.clips import Video, VideoSource
from smcd.runtime.errors import InputError, first_line
from smcd.runtime.files import new_file, read_json, write_json
from smcd.runtime.hashes import weights_hash

SHARD = 32  # videos of a shard
_FORMAT = 1
_TEXTS = {"text", "phrase_embeddings"}
_INDEX, _SETTINGS = "index.json", "settings.json"
_AGAIN = "run smcd prepare again, which writes anew what changed"


def encoder_hash(module: nn.Module) -> str:
    """A hash by which a cache's encoder is known, in float32 or float16."""
    return weights_hash(module.state_dict(), rounded=True)[:32]


@dataclass(frozen=True)
class EncoderHashes:
    """`encoder_hash` of a model's encoders, taken before they are cast; no text encoder for a cache without texts."""

    vae: str
    text_encoder: str | None

    @classmethod
    def of(cls, vae: nn.Module, text_encoder: nn.Module) -> "EncoderHashes":
        return cls(encoder_hash(vae), encoder_hash(text_encoder))


def cache_settings(
    encoders: EncoderHashes, source: VideoSource, height: int, width: int, resize: str
) -> dict[str, Any]:
    """What latents and embeddings depend on."""
    frames = {"height": height, "width": width, "resize": resize}
    return {"format": _FORMAT, "dataset": source.name, **asdict(encoders), **frames}


def cache_folder(folder: Path, settings: dict[str, Any]) -> Path:
    """Where the cache with these settings lies below `folder`."""
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
    return folder / f"{settings['dataset'].replace('/', '-')}-{settings['width']}x{settings['height']}-{key}"


def _shard_path(folder: Path, number: int) -> Path:
    return folder / f"shard-{number:05d}.safetensors"


def _open_shard(folder: Path, number: int) -> tuple[Any, dict[str, Any]]:
    """A shard's file, and what it says of its videos. Raises an InputError for one that is not whole."""
    path = _shard_path(folder, number)
    try:
        file = safe_open(path, "pt")
        return file, json.loads(file.metadata()["videos"])
    except (OSError, SafetensorError, TypeError, KeyError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({first_line(error)}); {_AGAIN}") from None


def _description(video: Video) -> dict[str, Any]:
    """What must not have changed since a video was cached."""
    return {
        "prompt": video.prompt,
        "phrases": video.phrases,
        "number of frames": len(video),
        "fingerprint": video.fingerprint,
    }


class CacheWriter:
    """Writes a cache shard by shard; shards that are there and still right are left as they are.

    Args:
        folder: `cache_folder`.
        source: the videos.
    """

    def __init__(self, folder: Path, source: VideoSource):
        self.folder, self.source = folder, source
        numbers = range(len(source.names))
        self.shards = [numbers[start : start + SHARD] for start in range(0, len(numbers), SHARD)]

    def begin(self, settings: dict[str, Any]) -> list[int]:
        """Numbers of the shards to be written; one process calls it. From here on the cache cannot be read.

        Raises:
            InputError: the cache was begun in another precision.
        """
        path = self.folder / _SETTINGS
        if path.is_file() and (old := read_json(path)) != settings:
            changed = [f"{key} {old.get(key)} -> {value}" for key, value in settings.items() if old.get(key) != value]
            raise InputError(f"{path}: the cache was begun otherwise ({', '.join(changed)}); delete its folder")
        write_json(path, settings, indent=1)
        for left_over in self.folder.glob(".*.partial*"):
            left_over.unlink()
        missing = [number for number in range(len(self.shards)) if not self._is_right(number)]
        if missing:
            (self.folder / _INDEX).unlink(missing_ok=True)
        return missing

    def _is_right(self, number: int) -> bool:
        """Whether a shard holds its videos as they are now, none of them dropped."""
        videos = (self.source.video(index) for index in self.shards[number])
        try:
            return _open_shard(self.folder, number)[1] == {video.name: _description(video) for video in videos}
        except InputError:
            return False

    def write(self, number: int, videos: dict[str, dict[str, Tensor] | str]) -> None:
        """Write one shard.

        Args:
            videos: for each video its `latent_mean`, `latent_std` (4 F h w) and, unless the cache is without texts,
                `text` (77 C) and `phrase_embeddings` (N C); or the reason why it was dropped.
        """
        tensors, header = {"-": torch.zeros(1)}, {}  # a file without tensors would not be valid
        for index in self.shards[number]:
            video = self.source.video(index)
            content = videos[video.name]
            if isinstance(content, str):
                header[video.name] = {"dropped": content}
                continue
            header[video.name] = _description(video)
            for key in ("latent_mean", "latent_std"):  # frames first: a clip is one piece of the file
                tensors[f"{video.name}/{key}"] = content[key].transpose(0, 1).contiguous().cpu()
            for key in _TEXTS & content.keys():
                tensors[f"{video.name}/{key}"] = content[key].contiguous().cpu()
        with new_file(_shard_path(self.folder, number)) as path:
            save_file(tensors, path, {"videos": json.dumps(header)})

    def finish(self) -> dict[str, str]:
        """Write the index, which makes the cache readable; to be called once all shards are there.

        Returns:
            Videos that are not in the cache, with the reason.

        Raises:
            InputError: a shard is missing or broken.
        """
        index: dict[str, int] = {}
        dropped: dict[str, str] = {}
        for number in range(len(self.shards)):
            for name, content in _open_shard(self.folder, number)[1].items():
                if "dropped" in content:
                    dropped[name] = content["dropped"]
                else:
                    index[name] = number
        write_json(self.folder / _INDEX, {"videos": index, "dropped": dropped})
        return dropped


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
        if not (folder / _INDEX).is_file():
            state = "is not finished" if folder.is_dir() else "does not exist"
            others = ", ".join(sorted(path.name for path in folder.parent.glob("*-*x*-*"))) or "none"
            raise InputError(
                f"{folder}: {state}; run smcd prepare with --latents {folder.parent} and this model, size "
                f"and resize (caches there: {others})"
            )
        content = read_json(folder / _INDEX)
        self._index, self.dropped = content.get("videos", {}), content.get("dropped", {})
        self._open: dict[int, tuple[Any, dict[str, Any], set[str]]] = {}
        self._process = os.getpid()

    def __call__(self, video: Video, frames: range) -> dict[str, Tensor]:
        """`latent_mean`, `latent_std` (4 F h w) of these frames and, where they are cached, `text` (77 C) and
        `phrase_embeddings` (N C); float32.

        Raises:
            InputError: a video that is not there, or was cached with another prompt, phrases, length or content.
        """
        if video.name not in self._index:
            raise InputError(f"{self.folder}: {video.name} is not in the cache; {_AGAIN}")
        file, header, names = self._shard(self._index[video.name])
        then, now = header.get(video.name, {}), _description(video)
        for key, value in now.items():
            if then.get(key) != value:
                raise InputError(
                    f"{self.folder}: {video.name} was cached with {key} {then.get(key)!r}, but {video.where} gives "
                    f"{value!r}; {_AGAIN}"
                )
        content = {}
        for key in ("latent_mean", "latent_std"):
            rows = file.get_slice(f"{video.name}/{key}")[frames[0] : frames[-1] + 1]
            content[key] = rows[:: frames.step].transpose(0, 1).float()
        for key in _TEXTS:
            if f"{video.name}/{key}" in names:
                content[key] = file.get_tensor(f"{video.name}/{key}").float()
        return content

    def _shard(self, number: int) -> tuple[Any, dict[str, Any], set[str]]:
        """The file, what it says of its videos, and the names of its tensors."""
        if self._process != os.getpid():  # a worker opens its own
            self._open, self._process = {}, os.getpid()
        if number not in self._open:
            file, header = _open_shard(self.folder, number)
            self._open[number] = file, header, set(file.keys())
        return self._open[number]
