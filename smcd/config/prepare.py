"""Options of `scripts/prepare_data.py`."""

from dataclasses import dataclass

from smcd.config.options import option


@dataclass
class PrepareConfig:
    """What is prepared, and with which model."""

    dataset: str = "got10k"
    data: str | None = option(None, "folder that holds the dataset; for videos, the folder with annotations.json")
    model: str = option(
        "ali-vilab/text-to-video-ms-1.7b", "text encoder and VAE: pipeline folder, base folder or hub id"
    )
    tokenizer: str | None = option(None, "folder or hub id of the tokenizer, if not in the model (ModelScope)")
    latents: str | None = option(None, "also cache VAE latents and text embeddings of the videos below this folder")
    texts: bool = option(True, "cache text embeddings with the latents; not for a text encoder that will train")
    split: str = option("train", "of GOT-10k, for the latents", ("train", "val"))
    width: int = option(256, "of the cached frames, in pixels")
    height: int = option(256, "of the cached frames, in pixels")
    resize: str = option("antialiased", "how frames are squashed", ("antialiased", "published"))
    dtype: str | None = option(
        None,
        "of the cache (default: float16 on a GPU, float32 elsewhere); a GPU also encodes in it",
        ("float32", "float16", "bfloat16"),
    )
    frames_at_once: int = option(16, "frames that go through the VAE together")
    sprites_clips: int = option(10_000, "clips of the sprites dataset")
    sprites_seed: int = option(0, "of the sprites dataset")
    sprites_frames: int = option(8, "frames of each of its videos")
    sprites_world: str = option("", "how rich the sprites world is, as in train_data")
    on_error: str = option("error", "broken clips: stop, or drop them and say so", ("error", "skip"))
    overwrite: bool = option(False, "write embeddings anew that another text encoder made")
    dry_run: bool = option(False, "say what would be done, and stop")
