"""Options of the data section, `train_data` and `eval_data` in the published files."""

from dataclasses import dataclass, field
from pathlib import Path

from smcd.config.options import option, section
from smcd.runtime.errors import InputError


@dataclass
class GligenConfig:
    """One of GLIGEN's sets, in `dataset_names`."""

    image_size: int = option(256, "side of the square images, in pixels", low=8)
    max_boxes_per_data: int = option(30, "objects of an image; those with fewer are filled up with absent ones", low=1)
    random_crop: bool = option(True, "crop at random; otherwise the centered square")
    crop_ratio: float = option(0.9, "smallest side of a crop, in parts of the image's short side", above=0, high=1)
    prob_use_caption: float = option(0.5, "share of images that keep their caption while training", low=0, high=1)


@dataclass
class DataConfig:
    """What is trained on, or evaluated."""

    name: str = option(
        "object_tracking",
        "videos with tracked objects, GLIGEN's images, or a folder of your own videos",
        ("object_tracking", "gligen", "videos"),
    )
    path: str | None = option(None, "folder with the datasets; for videos, the folder with annotations.json")
    data_path: str | None = option(None, "the same, for gligen")
    datasets: list[str] = option(["got10k", "youvis"], "of object_tracking: got10k, youvis, sprites")
    dataset_names: dict[str, GligenConfig] = field(default_factory=dict)
    split: str = option("train", "of GOT-10k", ("train", "val"))
    n_sample_frames: int = option(8, "frames of a clip", low=1)
    width: int = option(256, "of the frames, in pixels", low=1)
    height: int = option(256, "of the frames, in pixels", low=1)
    num_max_obj: int = option(8, "objects of a clip; clips with fewer are filled up with absent ones", low=1)
    stride: int = option(1, "take every n-th frame of a video (1: all)", low=1)
    start: str = option("random", "first frame of a clip: random, or its number")
    resize: str = option("antialiased", "how frames are squashed", ("antialiased", "published"))
    held_out: str = option("exclude", "the YouTube-VIS videos kept for evaluation", ("exclude", "only", "include"))
    weights: list[float] = option([], "shares of the datasets, in their order; otherwise each clip once per epoch")
    on_error: str = option("error", "broken clips: stop, or replace them and say so", ("error", "skip"))
    latents: str | None = option(None, "folder of cached latents (smcd prepare --latents)")
    phrase_embeddings: list[str] = option([], "files of ready phrase embeddings; otherwise phrases are encoded")
    sprites_clips: int = option(10_000, "clips of the sprites dataset", low=1)
    sprites_frames: int = option(0, "of each video of the sprites dataset; 0 for as many as a clip needs", low=0)
    sprites_seed: int = option(0, "of the sprites dataset: another seed, another world", low=0)
    sprites_world: str = option("", "how rich the sprites world is: built-in speed=0.4 objects=[1,2]")

    def check_together(self) -> None:
        """Raise an InputError for a first frame that is neither random nor a number."""
        if self.start != "random" and not (self.start.isascii() and self.start.isdigit()):
            raise InputError(f"start is {self.start!r}; it is random, or the number of a frame")

    def check_folder(self) -> None:
        """Raise an InputError where the data need a folder that is not named, or not there."""
        if self.name != "object_tracking" or {*self.datasets} - {"sprites"}:
            data_path(self)


def data_path(config: DataConfig) -> Path:
    """The folder of the data. Raises an InputError where none is named, or it does not exist."""
    path = config.data_path or config.path
    if not path:
        raise InputError(
            "no data: name the folder that holds them, train_data.path, or use datasets=[sprites] (see docs/data.md)"
        )
    if not Path(path).is_dir():
        raise InputError(f"{path}: no such folder; see docs/data.md for how datasets must lie on disk")
    return Path(path)


@dataclass
class ShowConfig:
    """What `smcd show` can be told."""

    out: str = option("outputs/data.png", "the picture to write")
    clips: int = option(8, "clips in it, in the order of training", low=1)
    seed: int = option(33, "of the order and of each clip's random choices", low=0)
    train_data: DataConfig = section(DataConfig, short=True)

    def check_together(self) -> None:
        """Raise an InputError for a picture of another kind, and for data that are not there."""
        if Path(self.out).suffix not in (".png", ".jpg"):
            raise InputError(f"--out {self.out}: name a .png or .jpg")
        self.train_data.check_folder()
