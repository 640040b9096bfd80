"""The prepare command: what training reads besides a dataset's own files is encoded and written once."""

from collections.abc import Callable, Collection
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import torch
from accelerate import PartialState
from torch import Tensor, nn
from tqdm import tqdm

from smcd.config import DataConfig, PrepareConfig, check
from smcd.convert.base import Base
from smcd.data.annotated import AnnotatedVideos
from smcd.data.build import summarize, video_sources
from smcd.data.clips import Video, VideoSource, read_frames
from smcd.data.gligen_tsv import SETS, GligenTSV, set_places
from smcd.data.got10k import GOT10k, split_places
from smcd.data.label_files import find_folder
from smcd.data.latent_cache import CacheWriter, EncoderHashes, cache_folder, cache_settings, encoder_hash
from smcd.data.made_files import prepare_gligen, prepare_youtube_vis, write_embeddings
from smcd.data.video_folder import VideoFolder
from smcd.data.youtube_vis import YouTubeVIS
from smcd.latents import encode_frames
from smcd.runtime.errors import InputError
from smcd.runtime.files import locked
from smcd.runtime.processes import in_main, shared_work
from smcd.text import cut_texts_counted, encode_phrases, encode_text

_AT_ONCE = 256  # phrases through the text encoder
_BLOCK = 64  # frames of a video that are read together


class Encoders:
    """A model's text encoder and, for latents, its VAE; both are hashed then, before they are cast.

    What they give is of `dtype`; they compute in it on a GPU, in float32 on a CPU, which is slow in 16 bits.
    """

    def __init__(self, base: Base, dtype: torch.dtype, device: torch.device, frames_at_once: int, with_vae: bool):
        self.dtype, self._frames_at_once = dtype, frames_at_once
        self._tokenizer, self._text_encoder = base.tokenizer(), base.text_encoder()
        self.text_hash = encoder_hash(self._text_encoder)
        encoders = [self._text_encoder]
        if with_vae:
            self._vae = base.vae()
            self.hashes = EncoderHashes(encoder_hash(self._vae), self.text_hash)
            encoders.append(self._vae)
        for encoder in encoders:
            # not diffusers' `to`, which warns of float32 modules where there are none
            nn.Module.to(encoder, device, torch.float32 if device.type == "cpu" else dtype)

    @torch.no_grad()
    def embed(self, phrases: Collection[str]) -> dict[str, Tensor]:
        """Embeddings of phrases (C, float32), sorted by phrase."""
        names = sorted(phrases)
        parts = [names[start : start + _AT_ONCE] for start in range(0, len(names), _AT_ONCE)]
        found = [
            encode_phrases(self._tokenizer, self._text_encoder, part).cpu()
            for part in tqdm(parts, "phrases", disable=len(parts) < 2)
        ]
        return dict(zip(names, torch.cat(found), strict=True))

    @torch.no_grad()
    def texts(self, video: Video) -> dict[str, Tensor]:
        """Embeddings of the prompt (`text`, 77 C) and of the phrases (`phrase_embeddings`, N C) of a video."""
        text, _ = encode_text(self._tokenizer, self._text_encoder, [video.prompt])
        phrases = encode_phrases(self._tokenizer, self._text_encoder, video.phrases)
        return {"text": text[0].to("cpu", self.dtype), "phrase_embeddings": phrases.to("cpu", self.dtype)}

    def latents(self, source: VideoSource, index: int, height: int, width: int, resize: str) -> dict[str, Tensor]:
        """The VAE's posterior of a video's frames: `latent_mean` and `latent_std`, 4 F h w."""
        frames, blocks = range(len(source.video(index))), []
        for start in range(0, len(frames), _BLOCK):
            pixels = read_frames(source, index, frames[start : start + _BLOCK], height, width, resize)
            posterior = encode_frames(self._vae, torch.from_numpy(pixels)[None], self._frames_at_once)
            blocks.append([values[0].to("cpu", self.dtype) for values in posterior])
        mean, std = (torch.cat(parts, dim=1) for parts in zip(*blocks, strict=True))
        return {"latent_mean": mean, "latent_std": std}


def prepare_dataset(config: PrepareConfig) -> None:
    """Write what training needs of a dataset, and print a summary."""
    for line in prepare(config):
        print(line)


def prepare(config: PrepareConfig) -> list[str]:
    """Write the files that `config` asks for; returns the lines of a summary, in the main process.

    With several processes that one writes the small files, and the latents are shared between all.

    Raises an InputError for data that are missing or broken, by file and line, or a model that cannot be loaded.
    """
    check(config)
    with cut_texts_counted(), shared_work("try a smaller --frames_at_once, or on a GPU --dtype float16") as state:

        @cache
        def encoders() -> Encoders:
            dtype = getattr(torch, config.dtype or ("float16" if state.device.type == "cuda" else "float32"))
            base, with_vae = Base.find(config.model, config.tokenizer), bool(config.latents)
            return Encoders(base, dtype, state.device, config.frames_at_once, with_vae)

        load = None if config.dry_run else encoders  # once the data are read, and only by processes that need them
        summary = in_main(state, lambda: _write_files(config, load))
        if config.latents:
            summary += _write_latents(config, Path(config.latents), load, state)
        return summary if state.is_main_process else []


def _write_files(config: PrepareConfig, load: Callable[[], Encoders] | None) -> list[str]:
    """Check a dataset and write everything but the latents (nothing, if `load` is None); returns a summary."""
    if config.dataset == "sprites":
        return []
    path, on_error = Path(str(config.data)), config.on_error
    if config.dataset == "gligen":
        return _write_gligen(path, load, config.overwrite, on_error)
    sources: list[AnnotatedVideos] = []
    if config.dataset == "youvis":
        sources.append(YouTubeVIS(path, "include", 1, on_error))  # checks everything before anything is written
    elif config.dataset == "videos":
        sources.append(VideoFolder(path, on_error=on_error, every_frame=True))
    else:
        splits = [split for split in ("train", "val") if find_folder(path, *split_places(split))]
        if not splits:
            raise InputError(f"{path}: has no folder got10k/train or got10k/val; see docs/data.md")
        sources += [GOT10k(path, split, on_error=on_error) for split in splits]
    if load is not None and config.dataset == "youvis":
        prepare_youtube_vis(path, load().embed, config.overwrite, on_error)
    elif load is not None:
        phrases = {p for source in sources for n in range(len(source.names)) for p in source.video(n).phrases}
        root = sources[0].folder.parent if isinstance(sources[0], GOT10k) else path
        write_embeddings(root / "obj_embedding.json", phrases, load().embed, config.overwrite)
    return [line for source in sources for line in summarize(source.name, len(source.names), source.dropped)]


def _write_gligen(path: Path, load: Callable[[], Encoders] | None, overwrite: bool, on_error: str) -> list[str]:
    found = [name for name in SETS if find_folder(path, *set_places(name), holds="*.tsv")]
    if not found:
        raise InputError(f"{path}: holds none of GLIGEN/GROUNDING/{{{','.join(SETS)}}}; see docs/data.md")
    lines = []
    for dataset in (GligenTSV(path, name, on_error=on_error) for name in found):
        phrases, broken = dataset.check_rows()
        if load is not None:
            encoders = load()
            dataset.write_missing_lineidx()
            prepare_gligen(dataset.folder, phrases, encoders.embed, encoders.text_hash, overwrite)
        lines += summarize(dataset.name, len(dataset) + len(dataset.dropped) - len(broken), broken)
    return lines


def _write_latents(
    config: PrepareConfig, folder: Path, load: Callable[[], Encoders] | None, state: PartialState
) -> list[str]:
    """Write this process's share of a cache below `folder`; returns a summary in the main process."""
    same = ("split", "width", "height", "resize", "on_error")
    data = DataConfig(
        name="videos" if config.dataset == "videos" else "object_tracking",
        path=config.data,
        datasets=[config.dataset],
        held_out="include",
        n_sample_frames=1,
        **{name: value for name, value in vars(config).items() if name in same or name.startswith("sprites_")},
    )
    [source] = video_sources(data)
    frames = sum(len(source.video(index)) for index in range(len(source.names)))
    if load is None:
        return [f"latents: {len(source.names)} videos with {frames} frames would be encoded"]
    if not frames:
        raise InputError(f"{source.name}: no video is left")
    encoders, size = load(), (config.height, config.width, config.resize)
    settings = cache_settings(encoders.hashes, source, *size, config.texts)
    folder = cache_folder(folder, settings)
    writer = CacheWriter(folder, source)
    with ExitStack() as stack:
        in_main(state, lambda: stack.enter_context(locked(folder)))
        missing = in_main(state, lambda: writer.begin(settings | {"dtype": str(encoders.dtype)}))
        for number in missing[state.process_index :: state.num_processes]:
            _write_shard(config, writer, number, encoders)
        state.wait_for_everyone()
        if not state.is_main_process:
            return []
        dropped = writer.finish()
    written = sum(path.stat().st_size for path in folder.iterdir())
    line = f"latents: {frames} frames, {written / 2**20:.1f} MiB in {folder}"
    return [line, *summarize(f"latents of {source.name}", len(source.names) - len(dropped), dropped)]


def _write_shard(config: PrepareConfig, writer: CacheWriter, number: int, encoders: Encoders) -> None:
    """Encode the videos of one shard and write it. Raises an InputError for a broken video, unless it is skipped."""
    source, videos = writer.source, dict[str, dict[str, Tensor] | str]()
    title = f"{source.name}, shard {number + 1} of {len(writer.shards)}"
    for index in tqdm(writer.shards[number], title, unit="video"):
        video = source.video(index)
        try:
            latents = encoders.latents(source, index, config.height, config.width, config.resize)
        except InputError as error:
            if config.on_error != "skip":
                raise
            videos[video.name] = str(error)
        else:
            videos[video.name] = latents | (encoders.texts(video) if config.texts else {})
    writer.write(number, videos)
