"""The prepare command: what training reads besides a dataset's own files is encoded and written once."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch
from accelerate import PartialState
from diffusers import AutoencoderKL
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from smcd.config import DataConfig, PrepareConfig, check
from smcd.convert.base import Base
from smcd.data.annotated import AnnotatedVideos
from smcd.data.build import summarize, video_sources
from smcd.data.clips import Video, VideoSource
from smcd.data.gligen_tsv import SETS, GligenTSV
from smcd.data.got10k import GOT10k
from smcd.data.label_files import folder_of
from smcd.data.latent_cache import CacheWriter, EncoderHashes, cache_folder, cache_settings, encoder_hash
from smcd.data.made_files import cache_latents, prepare_gligen, prepare_youtube_vis, write_embeddings
from smcd.data.video_folder import VideoFolder
from smcd.data.youtube_vis import YouTubeVIS
from smcd.latents import encode_frames
from smcd.runtime.errors import InputError
from smcd.runtime.processes import in_main, shared_work
from smcd.text import encode_phrases, encode_text


class Encoders:
    """A model's text encoder and VAE, each loaded when it is first needed and hashed before it is cast.

    What they give is of `dtype`; they compute in it on a GPU, in float32 on a CPU, which is slow in 16 bits.
    """

    def __init__(self, base: Base, dtype: torch.dtype, device: torch.device, frames_at_once: int):
        self._base, self.dtype, self.device = base, dtype, device
        self._computes = torch.float32 if device.type == "cpu" else dtype
        self._frames_at_once = frames_at_once

    @cached_property
    def _tokenizer(self) -> CLIPTokenizer:
        return self._base.tokenizer()

    @cached_property
    def _text_encoder(self) -> tuple[CLIPTextModel, str]:
        model = self._base.text_encoder()
        digest = encoder_hash(model)
        return model.to(self.device, self._computes), digest

    @cached_property
    def _vae(self) -> tuple[AutoencoderKL, str]:
        model = self._base.vae()
        digest = encoder_hash(model)
        return model.to(self.device, self._computes), digest

    def hashes(self) -> EncoderHashes:
        return EncoderHashes(self._vae[1], self.text_hash())

    def text_hash(self) -> str:
        return self._text_encoder[1]

    @torch.no_grad()
    def phrases(self, phrases: Sequence[str]) -> Tensor:
        """Embeddings of phrases, N C, float32."""
        return encode_phrases(self._tokenizer, self._text_encoder[0], list(phrases))

    @torch.no_grad()
    def texts(self, video: Video) -> dict[str, Tensor]:
        """Embeddings of the prompt (`text`, 77 C) and of the phrases (`phrase_embeddings`, N C) of a video."""
        text, _ = encode_text(self._tokenizer, self._text_encoder[0], [video.prompt])
        phrases = self.phrases(video.phrases)
        return {"text": text[0].to("cpu", self.dtype), "phrase_embeddings": phrases.to("cpu", self.dtype)}

    def frames(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the latents (4 F h w) of frames (F H W 3, uint8)."""
        mean, std = encode_frames(self._vae[0], frames[None], self._frames_at_once)
        return mean[0].to("cpu", self.dtype), std[0].to("cpu", self.dtype)


def prepare_dataset(config: PrepareConfig) -> None:
    """Write what training needs of a dataset, and print a summary."""
    print("\n".join(prepare(config)))


def prepare(config: PrepareConfig) -> list[str]:
    """Write the files that `config` asks for; returns the lines of a summary.

    With several processes the first one writes the small files, and the latents are shared between all.

    Raises:
        InputError: data that are missing or broken, by file and line; a model that cannot be loaded.
    """
    check(config)
    with shared_work("try a smaller --frames_at_once, or on a GPU --dtype float16") as state:
        dtype = getattr(torch, config.dtype or ("float16" if state.device.type == "cuda" else "float32"))
        encoders = None
        if not config.dry_run:
            encoders = Encoders(Base.find(config.model, config.tokenizer), dtype, state.device, config.frames_at_once)
        path = Path(config.data or "")
        summary = in_main(
            state, lambda: _write_files(config.dataset, path, encoders, config.overwrite, config.on_error)
        )
        if config.latents:
            [source] = video_sources(_data_config(config))
            size = (config.height, config.width)
            folder = Path(config.latents)
            summary += _write_latents(
                folder, source, encoders, state, config.texts, size, config.resize, config.on_error
            )
        return summary


def _data_config(config: PrepareConfig) -> DataConfig:
    """All videos of the dataset, held-out ones too."""
    same = ("split", "width", "height", "resize", "on_error")
    sprites = ("sprites_clips", "sprites_seed", "sprites_frames", "sprites_world")
    return DataConfig(
        name="videos" if config.dataset == "videos" else "object_tracking",
        path=config.data,
        datasets=[config.dataset],
        held_out="include",
        n_sample_frames=1,
        **{name: getattr(config, name) for name in (*same, *sprites)},
    )


def _write_files(dataset: str, path: Path, encoders: Encoders | None, overwrite: bool, on_error: str) -> list[str]:
    """Check a dataset and write everything but the latents (without encoders, nothing); returns a summary."""
    sources: Sequence[AnnotatedVideos] = []
    if dataset == "gligen":
        return _write_gligen(path, encoders, overwrite, on_error)
    if dataset == "youvis":
        sources = [YouTubeVIS(path, "include", 1, on_error)]  # checks everything before anything is written
        if encoders is not None:
            prepare_youtube_vis(folder_of(path, "youvis"), encoders.phrases, overwrite, on_error)
    elif dataset != "sprites":
        root = path
        if dataset == "got10k":
            root = folder_of(path, "got10k", "got-10k")
            splits = [split for split in ("train", "val") if (root / split).is_dir()]
            if not splits:
                raise InputError(f"{root}: has no folder train or val; see docs/data.md")
            sources = [GOT10k(path, split, on_error=on_error) for split in splits]
        else:
            sources = [VideoFolder(path, on_error=on_error)]
        if encoders is not None:
            phrases = {p for source in sources for n in range(len(source.names)) for p in source.video(n).phrases}
            write_embeddings(root / "obj_embedding.json", phrases, encoders.phrases, overwrite)
    return [line for source in sources for line in summarize(source.name, len(source.names), source.dropped)]


def _write_gligen(path: Path, encoders: Encoders | None, overwrite: bool, on_error: str) -> list[str]:
    places = ("GLIGEN/GROUNDING", "GROUNDING", "")
    found = [name for name in SETS if any((path / below / name).is_dir() for below in places)]
    if not found:
        raise InputError(f"{path}: holds none of GLIGEN/GROUNDING/{{{','.join(SETS)}}}; see docs/data.md")
    lines = []
    for dataset in (GligenTSV(path, name, on_error=on_error) for name in found):
        if encoders is None:
            broken = prepare_gligen(dataset, None, on_error=on_error)
        else:
            broken = prepare_gligen(dataset, encoders.phrases, encoders.text_hash(), on_error, overwrite)
        lines += summarize(dataset.name, len(dataset) + len(dataset.dropped) - len(broken), broken)
    return lines


def _write_latents(
    folder: Path,
    source: VideoSource,
    encoders: Encoders | None,
    state: PartialState,
    texts: bool,
    size: tuple[int, int],
    resize: str,
    on_error: str,
) -> list[str]:
    """Write this process's share of a cache below `folder`; returns a summary in the main process."""
    frames = sum(len(source.video(index)) for index in range(len(source.names)))
    if encoders is None:
        return [f"latents: {len(source.names)} videos with {frames} frames would be encoded"]
    if not frames:
        raise InputError(f"{source.name}: no video is left")
    hashes = encoders.hashes()
    settings = cache_settings(hashes if texts else EncoderHashes(hashes.vae, None), source, *size, resize)
    folder = cache_folder(folder, settings)
    writer = CacheWriter(folder, source)
    missing = in_main(state, lambda: writer.begin(settings | {"dtype": str(encoders.dtype)}))
    mine = missing[state.process_index :: state.num_processes]
    cache_latents(writer, mine, encoders.frames, encoders.texts if texts else lambda _: {}, size, resize, on_error)
    state.wait_for_everyone()
    if not state.is_main_process:
        return []
    dropped = writer.finish()
    written = sum(path.stat().st_size for path in folder.iterdir())
    line = f"latents: {frames} frames, {written / 2**20:.1f} MiB in {folder}"
    return [line, *summarize(f"latents of {source.name}", len(source.names) - len(dropped), dropped)]
