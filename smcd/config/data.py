"""Options of the data section, `train_data` and `eval_data` in the published files."""

from dataclasses import dataclass, field

from smcd.config.options import option


@dataclass
class GligenConfig:
    """One of GLIGEN's sets, in `dataset_names`."""

    image_size: int = option(256, "side of the square images, in pixels")
    max_boxes_per_data: int = option(30, "objects of an image; those with fewer are filled up with absent ones")
    random_crop: bool = option(True, "crop at random; otherwise the centered square")
    crop_ratio: float = option(0.9, "smallest side of a crop, in parts of the image's short side")
    prob_use_caption: float = option(0.5, "share of images that keep their caption while training")


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
    n_sample_frames: int = option(8, "frames of a clip")
    width: int = option(256, "of the frames, in pixels")
    height: int = option(256, "of the frames, in pixels")
    num_max_obj: int = option(8, "objects of a clip; clips with fewer are filled up with absent ones")
    stride: int = option(1, "take every n-th frame of a video (1: all)")
    start: str = option("random", "first frame of a clip: random, or its number")
    resize: str = option("antialiased", "how frames are squashed", ("antialiased", "published"))
    held_out: str = option("exclude", "the YouTube-VIS videos kept for evaluation", ("exclude", "only", "include"))
    weights: list[float] = option([], "shares of the datasets, in their order; otherwise each clip once per epoch")
    on_error: str = option("error", "broken clips: stop, or replace them and say so", ("error", "skip"))
    latents: str | None = option(None, "folder of cached latents (scripts/prepare_data.py --latents)")
    phrase_embeddings: list[str] = option([], "files of ready phrase embeddings; otherwise phrases are encoded")
    sprites_clips: int = option(10_000, "clips of the sprites dataset")
    sprites_frames: int = option(0, "of each video of the sprites dataset; 0 for as many as a clip needs")
    sprites_seed: int = option(0, "of the sprites dataset: another seed, another world")
    sprites_world: str = option("", "how rich the sprites world is: built-in speed=0.4 objects=[1,2]")


@dataclass
class ShowConfig:
    """What `scripts/show_data.py` can be told."""

    out: str = option("outputs/data.png", "the picture to write")
    clips: int = option(8, "clips in it, in the order of training")
    seed: int = option(33, "of the order and of each clip's random choices")
    train_data: DataConfig = field(default_factory=DataConfig)
