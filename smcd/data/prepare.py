"""Preparing datasets for training: the logic of `scripts/prepare_data.py`."""

import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch
from accelerate import PartialState
from diffusers import AutoencoderKL
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from smcd.config import DataConfig, PrepareConfig, check_choices
from smcd.convert.base import Base
from smcd.data.build import summarize, video_sources
from smcd.data.clips import Video, VideoSource
from smcd.data.gligen_tsv import SETS, GligenTSV
from smcd.data.got10k import GOT10k
from smcd.data.label_files import folder_of
from smcd.data.latent_cache import CacheWriter, EncoderHashes, cache_folder, cache_settings, encoder_hash
from smcd.data.made_files import (
    EMBEDDINGS,
    cache_latents,
    check_rows,
    prepare_gligen,
    prepare_youtube_vis,
    write_embeddings,
)
from smcd.data.video_folder import VideoFolder
from smcd.latents import encode_frames
from smcd.runtime.errors import InputError
from smcd.runtime.processes import in_main, shared_work
from smcd.text import encode_phrases, encode_text

logger = logging.getLogger(__name__)


class Encoders:
    """A model's text encoder and VAE, each loaded when it is first needed; their hashes are taken before casting.

    What they give is of `dtype`; they compute in it on a GPU, in float32 on a CPU, which is slow in 16 bits.
    """

    def __init__(self, base: Base, dtype: torch.dtype, device: torch.device, frames_at_once: int):
        self._base, self.dtype, self.device = base, dtype, device
        self._computes = torch.float32 if device.type == "cpu" else dtype
        self._frames_at_once = frames_at_once
        self.hashes: dict[str, str] = {}

    @cached_property
    def tokenizer(self) -> CLIPTokenizer:
        return self._base.tokenizer()

    @cached_property
    def text_encoder(self) -> CLIPTextModel:
        model = self._base.text_encoder()
        self.hashes["text_encoder"] = encoder_hash(model)
        return model.to(self.device, self._computes)

    @cached_property
    def vae(self) -> AutoencoderKL:
        model = self._base.vae()
        self.hashes["vae"] = encoder_hash(model)
        return model.to(self.device, self._computes)

    def both_hashes(self) -> EncoderHashes:
        """Loads what is not loaded yet."""
        for part in (self.vae, self.text_encoder):
            assert part is not None
        return EncoderHashes(**self.hashes)

    @torch.no_grad()
    def phrases(self, phrases: Sequence[str]) -> Tensor:
        """Embeddings of phrases, N C, float32."""
        return encode_phrases(self.tokenizer, self.text_encoder, list(phrases))

    @torch.no_grad()
    def texts(self, video: Video) -> dict[str, Tensor]:
        """Embeddings of the prompt (`text`, 77 C) and of the phrases (`phrase_embeddings`, N C) of a video."""
        text, _ = encode_text(self.tokenizer, self.text_encoder, [video.prompt])
        phrases = self.phrases(video.phrases)
        return {"text": text[0].to("cpu", self.dtype), "phrase_embeddings": phrases.to("cpu", self.dtype)}

    def frames(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the latents (4 F h w) of frames (F H W 3, uint8)."""
        mean, std = encode_frames(self.vae, frames[None], self._frames_at_once)
        return mean[0].to("cpu", self.dtype), std[0].to("cpu", self.dtype)


def prepare(config: PrepareConfig) -> list[str]:
    """Write the files that `config` asks for; returns the lines of a summary.

    With several processes the first one writes the small files, and the latents are shared between all.

    Raises:
        InputError: data that are missing or broken, by file and line; a model that cannot be loaded.
    """
    _check(config)
    with shared_work("try a smaller --frames_at_once, or on a GPU --dtype float16") as state:
        dtype = getattr(torch, config.dtype or ("float16" if state.device.type == "cuda" else "float32"))
        encoders = None
        if not config.dry_run:
            encoders = Encoders(Base.find(config.model, config.tokenizer), dtype, state.device, config.frames_at_once)
        summary = in_main(state, lambda: _write_files(config, encoders))
        if config.latents:
            summary += _write_latents(config, encoders, state)
        return summary


def _check(config: PrepareConfig) -> None:
    check_choices(config)
    if config.dataset not in ("got10k", "youvis", "gligen", "videos", "sprites"):
        raise InputError(f"dataset is {config.dataset!r}; choose from got10k, youvis, gligen, videos, sprites")
    if config.dataset == "sprites" and not config.latents:
        raise InputError("sprites need no files but cached latents: add --latents FOLDER")
    if config.dataset != "sprites" and (not config.data or not Path(config.data).is_dir()):
        raise InputError(f"{config.data or '--data'}: name the folder that holds the dataset (see docs/data.md)")
    if config.latents and config.dataset == "gligen":
        raise InputError("latents are cached for videos only; leave out --latents for gligen")
    if config.frames_at_once < 1:
        raise InputError(f"frames_at_once is {config.frames_at_once}; it must be at least 1")
    for name, side in (("width", config.width), ("height", config.height)):
        if side < 8 or side % 8:
            raise InputError(f"{name} is {side}; it must be a multiple of 8")


def _write_files(config: PrepareConfig, encoders: Encoders | None) -> list[str]:
    """Everything but the latents."""
    path = Path(config.data or "")
    if config.dataset == "gligen":
        return _write_gligen(config, path, encoders)
    if config.dataset == "sprites":
        return []
    if config.dataset == "youvis":
        sources = video_sources(_data_config(config))  # checks everything before anything is written
        if encoders is not None:
            prepare_youtube_vis(folder_of(path, "youvis"), encoders.phrases, config.overwrite, config.on_error)
    else:
        root: Path
        if config.dataset == "got10k":
            root = folder_of(path, "got10k", "got-10k")
            splits = [split for split in ("train", "val") if (root / split).is_dir()]
            if not splits:
                raise InputError(f"{root}: has no folder train or val; see docs/data.md")
            sources = [GOT10k(path, split, on_error=config.on_error) for split in splits]
        else:
            root, sources = path, [VideoFolder(path, on_error=config.on_error)]
        if encoders is not None:
            phrases = {p for source in sources for n in range(len(source.names)) for p in source.video(n).phrases}
            write_embeddings(root / EMBEDDINGS, phrases, encoders.phrases, config.overwrite)
    return [line for source in sources for line in summarize(source.name, len(source.names), source.dropped)]


def _write_gligen(config: PrepareConfig, path: Path, encoders: Encoders | None) -> list[str]:
    found = [GligenTSV(path, name, on_error=config.on_error) for name in SETS if _has_set(path, name)]
    if not found:
        raise InputError(f"{path}: holds none of GLIGEN/GROUNDING/{{{','.join(SETS)}}}; see docs/data.md")
    lines = []
    for dataset in found:
        if encoders is None:
            broken = check_rows(dataset, config.on_error)[1]
        else:
            assert encoders.text_encoder is not None  # loading it takes its hash
            encoder = encoders.hashes["text_encoder"]
            broken = prepare_gligen(dataset, encoders.phrases, encoder, config.on_error, config.overwrite)
        lines += summarize(dataset.name, len(dataset) + len(dataset.dropped) - len(broken), broken)
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
        sprites_clips=config.sprites_clips,
        sprites_seed=config.sprites_seed,
        sprites_frames=config.sprites_frames,
        sprites_world=config.sprites_world,
    )


def _write_latents(config: PrepareConfig, encoders: Encoders | None, state: PartialState) -> list[str]:
    assert config.latents is not None
    source: VideoSource = video_sources(_data_config(config))[0]
    frames = sum(len(source.video(index)) for index in range(len(source.names)))
    if encoders is None:
        return [f"latents: {len(source.names)} videos with {frames} frames would be encoded"]
    if not frames:
        raise InputError(f"{source.name}: no video is left")
    hashes = encoders.both_hashes()
    hashes = hashes if config.texts else hashes.without_text()
    settings = cache_settings(hashes, source, config.height, config.width, config.resize)
    folder = cache_folder(Path(config.latents), settings)
    writer = CacheWriter(folder, source)
    missing = in_main(state, lambda: writer.begin(settings | {"dtype": str(encoders.dtype)}))
    cache_latents(
        writer,
        missing[state.process_index :: state.num_processes],
        encoders.frames,
        encoders.texts if config.texts else lambda _: {},
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
    return [line, *summarize(f"latents of {source.name}", len(source.names) - len(dropped), dropped)]
