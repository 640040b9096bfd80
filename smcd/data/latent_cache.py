"""VAE latents and text embeddings of whole videos on disk, so that training need not decode and encode.

`FOLDER/<dataset>-<size>-<hash of encoders and settings>/` holds `settings.json`, shards of videos with what they were
made from, and `index.json` once all of them are there.
"""

import hashlib
import json
import os
import zlib
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
_LATENTS, _TEXTS = ("latent_mean", "latent_std"), {"text", "phrase_embeddings"}
_INDEX = "index.json"
_AGAIN = "run smcd prepare again, which writes anew what changed"


def encoder_hash(module: nn.Module) -> str:
    """A hash by which a cache's encoder is known, in float32 or float16."""
    return weights_hash(module.state_dict(), rounded=True)[:32]


@dataclass(frozen=True)
class EncoderHashes:
    """`encoder_hash` of a model's encoders, taken before they are cast."""

    vae: str
    text_encoder: str

    @classmethod
    def of(cls, vae: nn.Module, text_encoder: nn.Module) -> "EncoderHashes":
        return cls(encoder_hash(vae), encoder_hash(text_encoder))


def cache_settings(
    encoders: EncoderHashes, source: VideoSource, height: int, width: int, resize: str, texts: bool
) -> dict[str, Any]:
    """What latents and, in a cache with `texts`, embeddings depend on."""
    hashes = asdict(encoders) if texts else {"vae": encoders.vae, "text_encoder": None}
    return {"format": 1, "dataset": source.name, **hashes, "height": height, "width": width, "resize": resize}


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


def _checksums(rows: Tensor) -> list[int]:
    """CRC-32 of each row, for the rows that a clip reads are few of a shard."""
    flat = rows.contiguous().flatten(1).view(torch.uint8).numpy()
    return [zlib.crc32(row) for row in flat]


def _read(file: Any, video: str, key: str, header: dict[str, Any], rows: range | None = None) -> Tensor:
    """These rows, or all, of one of a video's tensors. Raises an InputError if they are not as they were written."""
    part = slice(None) if rows is None else slice(rows[0], rows[-1] + 1)
    try:
        content = file.get_slice(f"{video}/{key}")[part]
    except SafetensorError as error:
        raise InputError(f"{video}: its {key} cannot be read ({first_line(error)}); {_AGAIN}") from None
    sums = header.get("crc32", {}).get(key)  # which older caches do not have
    if sums is not None and _checksums(content) != sums[part]:
        raise InputError(f"{video}: its {key} in the cache is damaged; {_AGAIN}")
    return content


def _description(video: Video) -> dict[str, Any]:
    """What must not have changed since a video was cached."""
    content = {"prompt": video.prompt, "phrases": video.phrases}
    return content | {"number of frames": len(video), "fingerprint": video.fingerprint}


class CacheWriter:
    """Writes a cache (`cache_folder`) of a source shard by shard; shards that are still right are left as they are."""

    def __init__(self, folder: Path, source: VideoSource):
        self.folder, self.source = folder, source
        count = len(source.names)
        self.shards = [range(start, min(start + SHARD, count)) for start in range(0, count, SHARD)]

    def begin(self, settings: dict[str, Any]) -> list[int]:
        """Numbers of the shards to be written; one process calls it. From here on the cache cannot be read.

        Raises an InputError if the cache was begun in another precision.
        """
        path = self.folder / "settings.json"
        if path.is_file() and (old := read_json(path)) != settings:
            changed = [f"{key} {old.get(key)} -> {value}" for key, value in settings.items() if old.get(key) != value]
            raise InputError(f"{path}: the cache was begun otherwise ({', '.join(changed)}); delete its folder")
        write_json(path, settings, indent=1)
        missing = [number for number in range(len(self.shards)) if not self._is_right(number)]
        if missing:
            (self.folder / _INDEX).unlink(missing_ok=True)
        return missing

    def _is_right(self, number: int) -> bool:
        """Whether a shard holds its videos as they are now, none of them dropped, and every bit as it was written."""
        videos = map(self.source.video, self.shards[number])
        try:
            file, header = _open_shard(self.folder, number)
            for name, video in header.items():
                for key in video.get("crc32", {}):
                    _read(file, name, key, video)
            found = {name: {**video, "crc32": None} for name, video in header.items()}
            return found == {video.name: {**_description(video), "crc32": None} for video in videos}
        except InputError:
            return False

    def write(self, number: int, videos: dict[str, dict[str, Tensor] | str]) -> None:
        """Write one shard: for each video its `latent_mean`, `latent_std` (4 F h w) and, unless the cache is without
        texts, `text` (77 C) and `phrase_embeddings` (N C); or the reason why it was dropped.
        """
        tensors, header = {"-": torch.zeros(1)}, {}  # a file without tensors would not be valid
        for video in map(self.source.video, self.shards[number]):
            content = videos[video.name]
            if isinstance(content, str):
                header[video.name] = {"dropped": content}
                continue
            frames_first = {key: content[key].transpose(0, 1) for key in _LATENTS}  # a clip is one piece of the file
            stored = {key: value.contiguous() for key, value in (content | frames_first).items()}
            sums = {key: _checksums(value) for key, value in stored.items()}
            header[video.name] = _description(video) | {"crc32": sums}
            tensors |= {f"{video.name}/{key}": value for key, value in stored.items()}
        with new_file(_shard_path(self.folder, number)) as path:
            save_file(tensors, path, {"videos": json.dumps(header)})

    def finish(self) -> dict[str, str]:
        """Write the index, which makes the cache readable; returns the videos that are not in it, with the reason.

        Raises an InputError if a shard is missing or broken.
        """
        headers = [_open_shard(self.folder, number)[1] for number in range(len(self.shards))]
        dropped = {name: video["dropped"] for header in headers for name, video in header.items() if "dropped" in video}
        index = {name: number for number, header in enumerate(headers) for name in header if name not in dropped}
        write_json(self.folder / _INDEX, {"videos": index, "dropped": dropped})
        return dropped


class LatentCache:
    """Reads the cache in `folder` (`cache_folder`); an InputError if it is not whole.

    `dropped` are the videos that were broken when it was made, with the reason.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        if not (folder / _INDEX).is_file():
            state = "is not finished" if folder.is_dir() else "does not exist"
            others = ", ".join(sorted(path.name for path in folder.parent.glob("*-*x*-*"))) or "none"
            fix = f"run smcd prepare with --latents {folder.parent} and this model, size and resize"
            raise InputError(f"{folder}: {state}; {fix} (caches there: {others})")
        content = read_json(folder / _INDEX)
        self._index, self.dropped = content.get("videos", {}), content.get("dropped", {})
        self._open: dict[tuple[int, int], tuple[Any, dict[str, Any]]] = {}

    def __call__(self, video: Video, frames: range) -> dict[str, Tensor]:
        """`latent_mean`, `latent_std` (4 F h w) of these frames and, where they are cached, `text` (77 C) and
        `phrase_embeddings` (N C); float32.

        Raises an InputError for a video that is not there, is damaged, or changed since in prompt, phrases, length or
        content.
        """
        if video.name not in self._index:
            raise InputError(f"{self.folder}: {video.name} is not in the cache; {_AGAIN}")
        file, header = self._shard(self._index[video.name])
        then = header.get(video.name, {})
        for key, value in _description(video).items():
            if then.get(key) != value:
                change = f"was cached with {key} {then.get(key)!r}, but {video.where} gives {value!r}"
                raise InputError(f"{self.folder}: {video.name} {change}; {_AGAIN}")
        content = {}
        try:
            for key in _LATENTS:
                content[key] = _read(file, video.name, key, then, frames)[:: frames.step].transpose(0, 1).float()
            for key in _TEXTS:
                if f"{video.name}/{key}" in file.keys():  # noqa: SIM118  # it is not a dict
                    content[key] = _read(file, video.name, key, then).float()
        except InputError as error:
            raise InputError(f"{self.folder}: {error}") from None
        return content

    def _shard(self, number: int) -> tuple[Any, dict[str, Any]]:
        place = os.getpid(), number  # a worker opens its own
        if place not in self._open:
            self._open[place] = _open_shard(self.folder, number)
        return self._open[place]
