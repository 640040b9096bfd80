"""Datasets from the data section of a config."""

import logging
from collections import defaultdict
from pathlib import Path
from typing import Literal

from smcd.config import DataConfig, GligenConfig, check, data_path
from smcd.data.clips import ClipSource, Sampling, VideoClips, VideoSource
from smcd.data.gligen_tsv import SETS, GligenTSV
from smcd.data.got10k import GOT10k
from smcd.data.latent_cache import EncoderHashes, LatentCache, cache_folder, cache_settings
from smcd.data.mixing import ClipOrder, Mixture
from smcd.data.phrases import PhraseEmbeddings
from smcd.data.sprites import Sprites
from smcd.data.video_folder import VideoFolder
from smcd.data.youtube_vis import YouTubeVIS
from smcd.runtime.errors import InputError
from smcd.sprites.layouts import make_world

logger = logging.getLogger(__name__)

_GLIGEN_SETS = dict(zip(("FlickrGrounding", "SBUGrounding", "VGGrounding"), SETS, strict=True))
_VIDEO_SETS = ("got10k", "youvis", "sprites")


def build_data(config: DataConfig, seed: int, encoders: EncoderHashes | None = None) -> tuple[Mixture, ClipOrder]:
    """The clips that a config asks for, and their order.

    Args:
        seed: gives the order and each clip's random choices.
        encoders: the model's; needed where `config.latents` or `config.phrase_embeddings` name files made by them.

    Raises an InputError for data that are missing or broken, or options that do not fit.
    """
    check(config)
    embeddings = None
    if config.phrase_embeddings:
        files = [Path(path) for path in config.phrase_embeddings]
        embeddings = PhraseEmbeddings(files, encoders.text_encoder if encoders else None)
    sources: list[ClipSource] = []
    if config.name == "gligen":
        if config.latents:
            raise InputError("latents are cached for videos only; leave out latents for gligen")
        sets = config.dataset_names or {name: GligenConfig() for name in _GLIGEN_SETS}
        sources += [_gligen(config, name, options, embeddings) for name, options in sets.items()]
    else:
        sources += _videos(config, encoders, embeddings)
    for source in sources:
        for line in summarize(source.name, len(source), source.dropped) if source.dropped else []:
            logger.info(line)
        if not len(source):
            raise InputError(f"{source.name}: no clip is left; smcd prepare --dry_run says why")
    mixture = Mixture(sources, seed, config.on_error)
    return mixture, ClipOrder(mixture.lengths, seed, config.weights or None)


def _videos(
    config: DataConfig, encoders: EncoderHashes | None, embeddings: PhraseEmbeddings | None
) -> list[VideoClips]:
    sampling, found = _sampling(config), video_sources(config)
    if not config.latents:
        return [VideoClips(source, sampling, None, embeddings) for source in found]
    if encoders is None:
        raise ValueError("cached latents need the hashes of the encoders, to tell whether they fit")
    clips, size = [], (config.height, config.width, config.resize)
    for source in found:
        choices = [cache_settings(encoders, source, *size, texts) for texts in (True, False)]
        folders = [cache_folder(Path(config.latents), settings) for settings in choices]
        cache = LatentCache(next((folder for folder in folders if folder.is_dir()), folders[0]))
        if cache.dropped and config.on_error != "skip":
            name, reason = next(iter(cache.dropped.items()))
            fix = "repair them and prepare the latents again, or set train_data.on_error=skip"
            broken = f"{len(cache.dropped)} videos that were broken ({name}: {reason})"
            raise InputError(f"{cache.folder}: lacks {broken}; {fix}")
        source.dropped |= cache.dropped
        source.names = [name for name in source.names if name not in cache.dropped]
        clips.append(VideoClips(source, sampling, cache, embeddings))
    return clips


def _gligen(config: DataConfig, name: str, options: GligenConfig, embeddings: PhraseEmbeddings | None) -> GligenTSV:
    if name not in _GLIGEN_SETS and name not in _GLIGEN_SETS.values():
        raise InputError(f"dataset_names: {name} is unknown; choose from {', '.join(_GLIGEN_SETS)}")
    path, ratio = data_path(config), options.crop_ratio if options.random_crop else 1
    shape = (options.image_size, options.max_boxes_per_data, ratio)
    return GligenTSV(path, _GLIGEN_SETS.get(name, name), *shape, config.resize, embeddings, config.on_error)


def _sampling(config: DataConfig) -> Sampling:
    start: int | Literal["random"] = "random" if config.start == "random" else int(config.start)
    size = (config.height, config.width)
    return Sampling(config.n_sample_frames, *size, config.num_max_obj, config.stride, start, config.resize)


def video_sources(config: DataConfig) -> list[VideoSource]:
    """The datasets of videos that a config names. Raises an InputError where they are missing or broken."""
    needed = _sampling(config).needed
    if config.name == "videos":
        return [VideoFolder(data_path(config), needed, config.on_error)]
    sources: list[VideoSource] = []
    for name in config.datasets:
        if name == "got10k":
            sources.append(GOT10k(data_path(config), config.split, needed, config.on_error))
        elif name in ("youvis", "youtube_vis"):
            sources.append(YouTubeVIS(data_path(config), config.held_out, needed, config.on_error))
        elif name == "sprites":
            size, frames = max(config.width, config.height), config.sprites_frames or needed
            if frames < needed:
                raise InputError(f"sprites_frames is {frames}; a clip needs {needed}")
            world = make_world(config.sprites_world.split())
            sources.append(Sprites(config.sprites_clips, config.sprites_seed, frames, size, world))
        else:
            raise InputError(f"datasets: {name} is unknown; choose from {', '.join(_VIDEO_SETS)}")
    if not sources:
        raise InputError(f"datasets is empty; choose from {', '.join(_VIDEO_SETS)}")
    return sources


def summarize(name: str, kept: int, dropped: dict[str, str]) -> list[str]:
    """How many clips were kept, how many dropped and why, with an example of each reason."""
    kinds = defaultdict(list)
    for clip, reason in dropped.items():
        words = (word for word in reason.split() if "/" not in word)  # reasons may differ in files and numbers
        kinds[" ".join("#" if any(map(str.isdigit, word)) else word for word in words)].append(clip)
    alike = sorted(kinds.values(), key=len, reverse=True)
    lines = [f"  {len(clips)} x {dropped[clips[0]]} ({clips[0]})" for clips in alike]
    return [f"{name}: {kept} clips kept, {len(dropped)} dropped", *lines]
