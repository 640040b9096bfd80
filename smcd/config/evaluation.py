"""Options of `smcd evaluate` and `inference_eval.py`."""

from dataclasses import dataclass
from typing import Any

from smcd.config.data import data_folder
from smcd.config.model import ModelConfig
from smcd.config.options import option, section
from smcd.runtime.errors import InputError

_SEED: dict[str, Any] = {"low": 0, "high": 2**63 - 1}


@dataclass
class EvaluationDataConfig:
    """The published files' `eval_data`: which frames and objects of a dataset, and where it lies."""

    name: str = option("object_tracking", "kind of data: videos with tracked objects", ("object_tracking",))
    path: str | None = option(None, "folder that holds got10k or youvis")
    datasets: list[str] = option([], "one of the choices of --dataset, which takes precedence")
    n_sample_frames: int = option(0, "if given, it must equal validation_data.video_length")
    width: int = option(0, "if given, it must equal validation_data.width")
    height: int = option(0, "if given, it must equal validation_data.height")
    num_max_obj: int = option(8, "objects in a sprites clip (GOT-10k always has 1, YouTube-VIS 8)", low=1, high=1000)
    start: int = option(0, "first frame of each clip", low=0, high=10**9)
    stride: int = option(1, "take every n-th frame; 1 takes all", low=1, high=10**6)
    on_error: str = option("error", "if annotations are broken: stop, or leave the video out", ("error", "skip"))
    captions: bool = option(False, "prompt GOT-10k clips with got10k_val_caption.json; otherwise A X that is Y.")
    sprites_clips: int = option(8, "number of clips in the sprites dataset", low=1, high=10**6)
    sprites_seed: int = option(1, "seed of the sprites dataset; training has 0, which is another world", **_SEED)
    sprites_world: str = option("built-in", "how rich the sprites world is: built-in speed=0.4; empty as in training")


@dataclass
class EvaluationConfig(ModelConfig):
    """What `smcd evaluate` can be told."""

    dataset: str | None = option(
        None,
        "GOT-10k val, the 180 published videos of YouTube-VIS, its held-out videos, or sprites, which need no files",
        ("got10k", "youvis", "youvis-heldout", "sprites"),
    )
    eval_data: EvaluationDataConfig = section(EvaluationDataConfig)
    output_dir: str = option("outputs/eval", "folder of videos and report; the same command resumes there", filled=True)
    seed: int = option(33, "seed of the videos", **_SEED)
    seeds: list[int] = option([], "several seeds in place of seed: each clip gets a video for each of them", **_SEED)
    max_clips: int = option(0, "number of clips, the first ones; 0 means all", low=0, high=10**9)
    batch_size: int = option(1, "number of clips that are sampled together", low=1, high=10_000)
    num_workers: int = option(4, "number of threads that read clips", low=0, high=256)
    fps: float = option(8.0, "frames per second in the written videos", low=0.1, high=50)
    weights_sha256: str | None = option(None, "refuse weights with another hash; config.yaml in output_dir shows it")
    report: bool = option(True, "score the videos and write the report at the end; --no-report does not")
    tracker: str = option("csrt", "tracker that follows the objects in the videos", ("csrt", "sam2", "none"))
    sam2: str = option("facebook/sam2.1-hiera-large", "folder or hub id, for the tracker sam2")
    clip: str = option("openai/clip-vit-base-patch32", "folder or hub id of the model that scores, or none")
    dino: str = option("facebook/dino-vits16", "folder or hub id of the model that scores, or none")
    fvd_weights: str | None = option(None, "I3D as TorchScript; without it there is no FVD")

    def check_together(self) -> None:
        super().check_together()
        data, videos = self.eval_data, self.validation_data  # the published files repeat sizes in both
        for name, other in (("n_sample_frames", "video_length"), ("width", "width"), ("height", "height")):
            given, counts = getattr(data, name), getattr(videos, other)
            if counts is not None and given not in (0, counts):
                raise InputError(f"eval_data.{name} is {given}, but {other} is {counts}; leave out eval_data.{name}")
        dataset = self.dataset or (data.datasets or ["sprites"])[0]
        if dataset != "sprites":
            data_folder(data.path, dataset.partition("-")[0], "eval_data.path")
