"""Options of `python -m smcd.benchmark`."""

from dataclasses import dataclass

from smcd.config.model import COMPILE_MODES
from smcd.config.options import option


@dataclass
class BenchmarkConfig:
    """What the benchmark can be told."""

    what: str = option(
        "call",
        "a guided step, what it spends its time on, a whole clip, training steps, decoding, loading, the memory of "
        "--low_memory, or the errors of 16 bits",
        ("call", "profile", "clip", "train", "vae", "load", "memory", "precision"),
    )
    vs: str | None = option(None, "call, profile and clip: beside diffusers' own text-to-video, by turns", ("base",))
    sweep: str | None = option(None, "call: cost against this", ("frames", "pixels", "objects"))
    size: str | None = option(
        None,
        "of the networks, random weights; otherwise full, but tiny for train and precision without a GPU",
        ("full", "tiny"),
    )
    device: str | None = option(None, "cpu, cuda, cuda:1, ...; otherwise the GPU if there is one")
    dtype: str = option("float32", "of the weights; of the autocast in train", ("float32", "bfloat16", "float16"))
    base_dtype: str | None = option(
        None, "of diffusers' weights, otherwise the same", ("float32", "bfloat16", "float16")
    )
    channels_last: bool | None = option(None, "layout of the convolutions; otherwise yes on a CPU, no on a GPU")
    base_channels_last: bool | None = option(None, "the same for diffusers' networks; otherwise as ours")
    keep_memory: bool = option(True, "CPU: the allocator keeps freed memory, as the commands that sample have it")
    compile: bool = option(False, "torch.compile of the transformers, both ours and diffusers'")
    compile_mode: str = option("default", "torch.compile's", COMPILE_MODES)
    steps: int = option(50, "clip: denoising steps")
    frames: int = option(8, "of a clip")
    pixels: int = option(256, "side of the square frames")
    objects: int = option(8, "of a clip")
    batch: int = option(1, "clips")
    branches: int = option(2, "of guidance: 1 none, 2 text, then image, text and image, boxes")
    low_memory: bool = option(False, "guidance branches and frames one after the other")
    stage: str = option("2", "train: which stage", ("1", "2"))
    gradient_checkpointing: bool = option(False, "train: recompute activations in backward")
    repeats: int = option(5, "measurements, after one to warm up")
    json: str | None = option(None, "file for the numbers")
    picture: str | None = option(None, "file for a picture of them (.png)")
