"""Options of `smcd prepare`."""

from dataclasses import MISSING, dataclass

from smcd.config.model import BASE, DTYPES
from smcd.config.options import option
from smcd.runtime.errors import InputError

DATASETS = ("got10k", "youvis", "gligen", "videos", "sprites")


@dataclass
class PrepareConfig:
    """What is prepared, and with which model."""

    dataset: str = option(MISSING, "dataset to prepare", DATASETS, positional=True)
    data: str | None = option(None, "folder with the dataset; for videos, the one with annotations.json", folder=True)
    model: str = option(BASE, "text encoder and VAE: pipeline folder, base folder or hub id")
    tokenizer: str | None = option(None, "folder or hub id of the tokenizer, if not in the model (ModelScope)")
    latents: str | None = option(None, "also cache VAE latents and text embeddings of the videos below this folder")
    texts: bool = option(True, "cache text embeddings with the latents; not for a text encoder that will train")
    split: str = option("train", "part of GOT-10k whose latents are cached", ("train", "val"))
    width: int = option(256, "width of the cached frames, in pixels", low=8)
    height: int = option(256, "height of the cached frames, in pixels", low=8)
    resize: str = option("antialiased", "how frames are resized", ("antialiased", "published"))
    dtype: str | None = option(None, "precision of the cache; otherwise float16 on a GPU, float32 elsewhere", DTYPES)
    frames_at_once: int = option(16, "number of frames that go through the VAE together", low=1)
    sprites_clips: int = option(10_000, "number of clips in the sprites dataset", low=1)
    sprites_seed: int = option(0, "seed of the sprites dataset", low=0)
    sprites_frames: int = option(8, "number of frames in each sprites video", low=1)
    sprites_world: str = option("", "how rich the sprites world is, as in train_data")
    on_error: str = option("error", "if a clip is broken: stop, or drop it and say so", ("error", "skip"))
    overwrite: bool = option(False, "write embeddings anew that another text encoder made")
    dry_run: bool = option(False, "say what would be done, and stop")

    def check_together(self) -> None:
        if self.dataset == "sprites" and not self.latents:
            raise InputError("sprites need no files but cached latents: add --latents FOLDER")
        if self.dataset != "sprites" and not self.data:
            raise InputError("--data is missing: name the folder that holds the dataset (see docs/data.md)")
        if self.latents and self.dataset == "gligen":
            raise InputError("latents are cached for videos only; leave out --latents for gligen")
        for name, side in (("width", self.width), ("height", self.height)):
            if side % 8:
                raise InputError(f"{name} is {side}; it must be a multiple of 8")


@dataclass
class MakeSpritesConfig:
    """Which stand-in for a real dataset is written."""

    out: str = option(MISSING, "the data folder; the layout's own folder goes below it", metavar="FOLDER", filled=True)
    layout: str = option(MISSING, "layout of the files", ("got10k", "youvis", "gligen"))
    clips: int = option(100, "clips, or images of each GLIGEN set", low=1)
    split: str = option("train", "part of the dataset", ("train", "val", "valid", "test"))
    seed: int = option(0, "another seed makes another world", low=0)
    size: int = option(256, "side of the square frames, in pixels", low=16)
    frames: int = option(24, "frames of each clip", low=1)
    world: list[str] = option([], "how rich the world is: built-in speed=0.4", positional=True, metavar="SETTING")

    def check_together(self) -> None:
        if self.layout == "gligen" and self.split != "train":
            raise InputError("GLIGEN's files are training data: leave out --split")
