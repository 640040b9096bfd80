"""Options of the data section, `train_data` and `eval_data` in the published files."""

from dataclasses import dataclass, field
from pathlib import Path

from smcd.config.options import option
from smcd.runtime.errors import InputError


@dataclass
class GligenConfig:
    """One of GLIGEN's sets, in `dataset_names`."""

    image_size: int = option(256, "side of the square images, in pixels", low=8)
    max_boxes_per_data: int = option(30, "number of objects in an image; missing objects count as absent", low=1)
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
    path: str | None = option(None, "folder that holds the datasets; for videos, the one that holds annotations.json")
    data_path: str | None = option(None, "another name for path, which the published gligen files use")
    datasets: list[str] = option(["got10k", "youvis"], "datasets of object_tracking: any of got10k, youvis, sprites")
    dataset_names: dict[str, GligenConfig] = field(default_factory=dict)
    split: str = option("train", "part of GOT-10k", ("train", "val"))
    n_sample_frames: int = option(8, "number of frames in a clip", low=1)
    width: int = option(256, "width of the frames, in pixels", low=1)
    height: int = option(256, "height of the frames, in pixels", low=1)
    num_max_obj: int = option(8, "number of objects in a clip; missing objects count as absent", low=1)
    stride: int = option(1, "take every n-th frame of a video; 1 takes all", low=1)
    start: str = option("random", "first frame of a clip: random, or its number in the video")
    resize: str = option("antialiased", "how frames are resized", ("antialiased", "published"))
    held_out: str = option(
        "exclude", "what to do with YouTube-VIS videos kept for evaluation", ("exclude", "only", "include")
    )
    weights: list[float] = option([], "shares of the datasets, in order; if not given, each clip comes once per epoch")
    on_error: str = option("error", "if a clip is broken: stop, or replace it and say so", ("error", "skip"))
    latents: str | None = option(None, "folder of cached latents, which smcd prepare --latents writes")
    phrase_embeddings: list[str] = option([], "files of phrase embeddings; if not given, phrases are encoded")
    sprites_clips: int = option(10_000, "number of clips in the sprites dataset", low=1)
    sprites_frames: int = option(0, "number of frames in each sprites video; 0 means as many as a clip needs", low=0)
    sprites_seed: int = option(0, "seed of the sprites dataset; another seed makes another world", low=0)
    sprites_world: str = option("", "how rich the sprites world is, for example: built-in speed=0.4 objects=[1,2]")

    def check_together(self) -> None:
        if self.start != "random" and not (self.start.isascii() and self.start.isdigit()):
            raise InputError(f"start is {self.start!r}; it is random, or the number of a frame")

    @property
    def made(self) -> bool:
        """Whether all of the data are sprites, which need no files."""
        return self.name == "object_tracking" and not {*self.datasets} - {"sprites"}

    def check_folder(self) -> None:
        """Raise an InputError where the data need a folder that is not named, or not there."""
        if not self.made:
            data_path(self)


def data_path(config: DataConfig) -> Path:
    """The folder of the data. Raises an InputError where none is named, or it does not exist."""
    return data_folder(config.data_path or config.path, "them", "train_data.path")


def data_folder(path: str | None, name: str, key: str) -> Path:
    """The folder of the data called `name`, which the option `key` gives. Raises an InputError as `data_path` does."""
    if not path:
        raise InputError(f"no data: name the folder that holds {name}, {key}=FOLDER, or use sprites (see docs/data.md)")
    if not Path(path).is_dir():
        raise InputError(f"{path}: no such folder; see docs/data.md for how datasets must lie on disk")
    return Path(path)
