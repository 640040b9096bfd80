"""How fast clips are read: from JPEG frames, by plain decoding, and from cached latents."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from smcd.data.clips import Sampling, VideoClips, read_frames
from smcd.data.got10k import GOT10k
from smcd.data.latent_cache import CacheWriter, LatentCache
from smcd.runtime.media import resize
from smcd.sprites.layouts import make_world, write_got10k

_FULL_HD = (1080, 1920)


def write_full_hd(out: Path, clips: int, frames: int = 8) -> None:
    """A GOT-10k of 1920 x 1080 JPEG frames (quality 90): sprites, with the fine texture and noise of a camera."""
    write_got10k(out, range(clips), 0, frames, 270, make_world([]))
    rng = np.random.default_rng(0)
    grain = rng.normal(0, 1, (_FULL_HD[0] // 4, _FULL_HD[1] // 4, 3))
    texture = np.kron(grain, np.ones((4, 4, 1))) * 6
    for folder in sorted((out / "got10k" / "train").iterdir()):
        meta = folder / "meta_info.ini"
        meta.write_text(meta.read_text().replace("(270, 270)", "(1920, 1080)"))
        for path in folder.glob("*.jpg"):
            with PIL.Image.open(path) as image:
                large = np.asarray(image.resize(_FULL_HD[::-1], PIL.Image.Resampling.BICUBIC), dtype=float)
            noisy = large + texture + rng.normal(0, 4, large.shape)
            PIL.Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(path, quality=90)


def plain_frames(source: GOT10k, index: int, frames: range, height: int, width: int) -> np.ndarray:
    """What reading is measured against: full-size decoding and antialiased bilinear resizing, F H W 3."""
    images = source.images(index, frames, None)
    return np.stack([np.asarray(resize(image, height, width)) for image in images])


def write_random_cache(folder: Path, source: GOT10k, height: int, width: int) -> LatentCache:
    """A cache of the full model's shapes; what the numbers are does not matter to its speed."""
    writer = CacheWriter(folder, source)
    for number in writer.begin({}):
        videos: dict[str, dict[str, Tensor] | str] = {}
        for video in map(source.video, writer.shards[number]):
            latents = torch.randn(2, 4, len(video), height // 8, width // 8)
            texts = {"text": torch.randn(77, 1024), "phrase_embeddings": torch.randn(len(video.phrases), 1024)}
            videos[video.name] = {"latent_mean": latents[0], "latent_std": latents[1], **texts}
        writer.write(number, videos)
    writer.finish()
    return LatentCache(folder)


def benchmark(data: Path, scratch: Path, clips: int = 8, repeats: int = 3) -> dict[str, float]:
    """Clips of 8 frames at 256 x 256, read by one process in three ways, by turns.

    Args:
        data: the folder that holds GOT-10k.
        scratch: for the cache.
        clips: sequences that are read.
        repeats: of each way; the median counts.

    Returns:
        Clips a second `plain`, `raw` and `cached`, and the mean `difference` of raw from plain pixels (of 255).
    """
    source = GOT10k(data)
    source.names = source.names[:clips]
    sampling = Sampling(start=0)
    size, frames = (sampling.height, sampling.width), range(sampling.num_frames)
    raw = VideoClips(source, sampling)
    cached = VideoClips(source, sampling, write_random_cache(scratch, source, *size))
    rng = np.random.default_rng(0)
    ways: dict[str, Callable[[int], object]] = {
        "plain": lambda index: plain_frames(source, index, frames, *size),
        "raw": lambda index: raw.clip(index, rng),
        "cached": lambda index: cached.clip(index, rng),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name, read in ways.items():
            start = time.perf_counter()
            for index in range(len(source.names)):
                read(index)
            if repeat:  # the first round warms up
                seconds[name].append((time.perf_counter() - start) / len(source.names))
    differences = []
    for index in range(len(source.names)):
        plain, scaled = plain_frames(source, index, frames, *size), read_frames(source, index, frames, *size)
        differences.append(np.abs(plain.astype(float) - scaled).mean())
    speeds = {name: 1 / float(np.median(times)) for name, times in seconds.items()}
    return speeds | {"difference": float(np.mean(differences))}
