"""Preparing datasets for training: the logic of `scripts/prepare_data.py`."""

import logging
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from diffusers import AutoencoderKL
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from smcd.config import DataConfig, PrepareConfig, check_choices
from smcd.convert.base import Base
from smcd.data.build import video_sources
from smcd.data.clips import Video, VideoSource
from smcd.data.files import folder_of
from smcd.data.gligen_tsv import SETS, GligenTSV
from smcd.data.got10k import GOT10k
from smcd.data.latent_cache import CacheWriter, cache_folder, cache_settings, weights_hash
from smcd.data.prepare import (
    GOT10K_EMBEDDINGS,
    add_captions,
    cache_latents,
    prepare_gligen,
    prepare_youtube_vis,
    write_embeddings,
)
from smcd.data.video_folder import ANNOTATIONS, VideoFolder
from smcd.errors import InputError
from smcd.latents import encode_frames
from smcd.text import encode_phrases, encode_text

logger = logging.getLogger(__name__)


class Encoders:
    """A model's text encoder and VAE, each loaded when it is first needed."""

    def __init__(self, base: Base, dtype: torch.dtype, device: torch.device):
        self._base, self.dtype, self.device = base, dtype, device

    @cached_property
    def tokenizer(self) -> CLIPTokenizer:
        return self._base.tokenizer()

    @cached_property
    def text_encoder(self) -> CLIPTextModel:
        return self._base.text_encoder().to(self.device, self.dtype)

    @cached_property
    def vae(self) -> AutoencoderKL:
        return self._base.vae().to(self.device, self.dtype)

    @torch.no_grad()
    def phrases(self, phrases: Any) -> Tensor:
        """Embeddings of phrases, N C, float32."""
        return encode_phrases(self.tokenizer, self.text_encoder, list(phrases))

    @torch.no_grad()
    def video(self, frames: Tensor, video: Video, frames_at_once: int) -> dict[str, Tensor]:
        """What the latent cache holds of a video (frames F H W 3, uint8)."""
        mean, std = encode_frames(self.vae, frames[None], frames_at_once)
        text, _ = encode_text(self.tokenizer, self.text_encoder, [video.prompt])
        encoded = {"latent_mean": mean[0], "latent_std": std[0], "text": text[0]}
        encoded["phrase_embeddings"] = self.phrases(video.phrases)
        return {name: tensor.to(self.dtype) for name, tensor in encoded.items()}


def prepare(config: PrepareConfig) -> list[str]:
    """Write the files that `config` asks for; returns the lines of a summary.

    With several processes the first one writes the small files, and the latents are shared between all.

    Raises:
        InputError: data that are missing or broken, by file and line; a model that cannot be loaded.
    """
    check_choices(config)
    if not config.data or not Path(config.data).is_dir():
        raise InputError(f"{config.data or '--data'}: name the folder that holds the dataset (see docs/data.md)")
    accelerator = torch.cuda.is_available() or torch.backends.mps.is_available()
    state = PartialState(cpu=not accelerator)
    try:
        dtype = getattr(torch, config.dtype or ("float16" if state.device.type == "cuda" else "float32"))
        encoders = None
        if not config.dry_run:
            encoders = Encoders(Base.find(config.model, config.tokenizer), dtype, state.device)
        summary = []
        if state.is_main_process:
            summary = _write_files(config, encoders)
        state.wait_for_everyone()
        if config.latents:
            summary += _write_latents(config, encoders, state)
        return summary
    finally:
        state.destroy_process_group()


def _write_files(config: PrepareConfig, encoders: Encoders | None) -> list[str]:
    """Everything but the latents."""
    path = Path(config.data or "")
    if config.dataset == "gligen":
        return _write_gligen(config, path, encoders)
    sources: list[VideoSource]
    if config.dataset == "got10k":
        root = folder_of(path, "got10k", "got-10k")
        splits = [split for split in ("train", "val") if (root / split).is_dir()]
        sources = [GOT10k(path, split, on_error=config.on_error) for split in splits]
        if encoders is not None:
            classes = [source.video(n).phrases[0] for source in sources for n in range(len(source.names))]
            write_embeddings(root / GOT10K_EMBEDDINGS, classes, encoders.phrases, config.overwrite)
    elif config.dataset == "youvis":
        if encoders is not None:
            prepare_youtube_vis(folder_of(path, "youvis"), encoders.phrases, config.overwrite)
        sources = video_sources(_data_config(config))
    else:
        if encoders is not None:
            add_captions(path / ANNOTATIONS)
        videos = VideoFolder(path, on_error=config.on_error)
        phrases = [phrase for n in range(len(videos.names)) for phrase in videos.video(n).phrases]
        if encoders is not None:
            write_embeddings(path / GOT10K_EMBEDDINGS, phrases, encoders.phrases, config.overwrite)
        sources = [videos]
    return [line for source in sources for line in summarise(source.name, len(source.names), source.dropped)]


def _write_gligen(config: PrepareConfig, path: Path, encoders: Encoders | None) -> list[str]:
    if config.latents:
        raise InputError("latents are cached for videos only; leave out --latents for gligen")
    found = [GligenTSV(path, name) for name in SETS if _has_set(path, name)]
    if not found:
        raise InputError(f"{path}: holds none of GLIGEN/GROUNDING/{{{','.join(SETS)}}}; see docs/data.md")
    lines = []
    for dataset in found:
        encoder = weights_hash(encoders.text_encoder) if encoders is not None else ""
        embed = encoders.phrases if encoders is not None else torch.zeros
        broken = prepare_gligen(dataset, embed, encoder, config.on_error, config.dry_run)  # type: ignore[arg-type]
        lines += summarise(dataset.name, len(dataset) - len(broken), broken)
    return lines


def _has_set(path: Path, name: str) -> bool:
    return any((path / below / name).is_dir() for below in ("GLIGEN/GROUNDING", "GROUNDING", ""))


def _data_config(config: PrepareConfig) -> DataConfig:
    """All videos of the dataset, held-out ones too."""
    videos = config.dataset == "videos"
    return DataConfig(
        name="videos" if videos else "object_tracking",
        path=config.data,
        datasets=[config.dataset],
        split=config.split,
        width=config.width,
        height=config.height,
        resize=config.resize,
        held_out="include",
        on_error=config.on_error,
        n_sample_frames=1,
    )


def _write_latents(config: PrepareConfig, encoders: Encoders | None, state: PartialState) -> list[str]:
    assert config.latents is not None
    source = video_sources(_data_config(config))[0]
    frames = sum(len(source.video(index)) for index in range(len(source.names)))
    if encoders is None:
        return [f"latents: {len(source.names)} videos with {frames} frames would be encoded"]
    hashes = weights_hash(encoders.vae), weights_hash(encoders.text_encoder)
    settings = cache_settings(*hashes, source, config.height, config.width, config.resize)
    folder = cache_folder(Path(config.latents), settings)
    writer = CacheWriter(folder, settings | {"dtype": str(encoders.dtype)}, source.names)
    missing = writer.missing()
    state.wait_for_everyone()
    mine = missing[state.process_index :: state.num_processes]
    cache_latents(
        source,
        writer,
        mine,
        lambda pixels, video: encoders.video(pixels, video, config.frames_at_once),
        (config.height, config.width),
        config.resize,
        config.on_error,
    )
    state.wait_for_everyone()
    if not state.is_main_process:
        return []
    dropped = writer.finish()
    size = sum(path.stat().st_size for path in folder.iterdir())
    line = f"latents: {frames} frames, {size / 2**20:.1f} MiB in {folder}"
    return [line, *summarise(f"latents of {source.name}", len(source.names) - len(dropped), dropped)]


def summarise(name: str, kept: int, dropped: dict[str, str]) -> list[str]:
    """How many clips were kept, how many dropped and why, with an example of each reason."""
    lines = [f"{name}: {kept} clips kept, {len(dropped)} dropped"]
    reasons = Counter(_kind(reason) for reason in dropped.values())
    for kind, count in reasons.most_common():
        example = next(clip for clip, reason in dropped.items() if _kind(reason) == kind)
        lines.append(f"  {count} x {dropped[example]} ({example})")
    return lines


def _kind(reason: str) -> str:
    """Reasons that differ only in files and numbers are of one kind."""
    words = (word for word in reason.split() if "/" not in word)
    return " ".join("#" if any(letter.isdigit() for letter in word) else word for word in words)
