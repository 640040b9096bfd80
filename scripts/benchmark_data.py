#!/usr/bin/env python
"""Measure how many clips a second are read by plain decoding, by scaled decoding and from cached latents.

One process reads clips of 8 frames of 256 x 256.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from torch import Tensor
from torch.utils.benchmark import Timer

from smcd.config import configured
from smcd.config.options import option
from smcd.data.clips import Sampling, VideoClips, read_frames
from smcd.data.got10k import GOT10k
from smcd.data.latent_cache import CacheWriter, LatentCache
from smcd.runtime.media import resize
from smcd.sprites.layouts import make_world, write_got10k

FULL_HD = (1080, 1920)


@dataclass
class Options:
    data: str | None = option(None, "folder that holds got10k; otherwise made-up frames of 1920 x 1080")
    clips: int = option(8, "sequences to read")
    repeats: int = option(3, "turns of each way of reading")


def write_full_hd(out: Path, clips: int, frames: int = 8) -> None:
    """Write a GOT-10k of 1920 x 1080 JPEGs (quality 90): sprites with the fine texture and noise of a camera."""
    write_got10k(out, range(clips), 0, frames, 270, make_world([]))
    rng = np.random.default_rng(0)
    grain = rng.normal(0, 1, (FULL_HD[0] // 4, FULL_HD[1] // 4, 3))
    texture = np.kron(grain, np.ones((4, 4, 1))) * 6
    for folder in sorted((out / "got10k" / "train").iterdir()):
        meta = folder / "meta_info.ini"
        meta.write_text(meta.read_text().replace("(270, 270)", "(1920, 1080)"))
        for path in folder.glob("*.jpg"):
            with PIL.Image.open(path) as image:
                large = np.asarray(image.resize(FULL_HD[::-1], PIL.Image.Resampling.BICUBIC), dtype=float)
            noisy = large + texture + rng.normal(0, 4, large.shape)
            PIL.Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(path, quality=90)


def write_random_cache(folder: Path, source: GOT10k, height: int, width: int) -> LatentCache:
    """Write a cache with the full model's shapes; its speed does not depend on the numbers in it."""
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


def measure(data: Path, scratch: Path, clips: int = 8, repeats: int = 3) -> dict[str, float]:
    """Read clips in three ways by turns.

    Args:
        data: folder that holds got10k.
        scratch: folder for the cache.

    Returns:
        Median clips a second `plain`, `raw` and `cached`, and the mean `difference` of raw from plain pixels (of 255).
    """
    source = GOT10k(data)
    source.names = source.names[:clips]
    sampling, rng = Sampling(start=0), np.random.default_rng(0)
    size, frames, indices = (sampling.height, sampling.width), range(sampling.num_frames), range(len(source.names))
    raw = VideoClips(source, sampling)
    cached = VideoClips(source, sampling, write_random_cache(scratch, source, *size))

    def plain(index: int) -> np.ndarray:  # F H W 3
        return np.stack([np.asarray(resize(image, *size)) for image in source.images(index, frames, None)])

    ways = {
        "plain": lambda: [plain(index) for index in indices],
        "raw": lambda: [raw.clip(index, rng) for index in indices],
        "cached": lambda: [cached.clip(index, rng) for index in indices],
    }
    timers = {name: Timer("read()", globals={"read": read}) for name, read in ways.items()}
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, timer in timers.items():
            speeds[name].append(len(indices) / timer.blocked_autorange().median)
    pairs = [(plain(index), read_frames(source, index, frames, *size)) for index in indices]
    difference = np.mean([np.abs(a.astype(float) - b).mean() for a, b in pairs])
    return {name: float(np.median(each)) for name, each in speeds.items()} | {"difference": float(difference)}


def run(options: Options) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(options.data or scratch)
        if options.data is None:
            write_full_hd(data, options.clips)
        found = measure(data, Path(scratch, "latents"), options.clips, options.repeats)
    print(f"plain decoding  {found['plain']:8.1f} clips/s")
    print(f"raw frames      {found['raw']:8.1f} clips/s  {found['raw'] / found['plain']:.1f}x plain", end="")
    print(f", mean pixel difference {found['difference']:.2f}/255")
    print(f"cached latents  {found['cached']:8.1f} clips/s  {found['cached'] / found['raw']:.0f}x raw")


if __name__ == "__main__":
    with configured(Options, __doc__) as options:
        run(options)
