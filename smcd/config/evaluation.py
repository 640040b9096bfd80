"""Options of `smcd evaluate` and `inference_eval.py`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smcd.config.model import ModelConfig
from smcd.config.options import option, section
from smcd.runtime.errors import InputError

_SEED: dict[str, Any] = {"low": 0, "high": 2**63 - 1}


@dataclass
class EvaluationDataConfig:
    """The published files' `eval_data`: which frames and objects of a dataset, and where it lies."""

    name: str = option("object_tracking", "videos with tracked objects", ("object_tracking",))
    path: str | None = option(None, "folder that holds got10k or youvis")
    datasets: list[str] = option([], "where --dataset is not given: one of its choices")
    n_sample_frames: int = option(0, "as validation_data.video_length, if given")
    width: int = option(0, "as validation_data.width, if given")
    height: int = option(0, "as validation_data.height, if given")
    num_max_obj: int = option(8, "objects of a sprites clip (GOT-10k always has 1, YouTube-VIS 8)", low=1, high=1000)
    start: int = option(0, "first frame", low=0, high=10**9)
    stride: int = option(1, "take every n-th frame (1: all)", low=1, high=10**6)
    on_error: str = option("error", "broken annotations: stop, or leave the video out", ("error", "skip"))
    sprites_clips: int = option(8, "clips of the sprites dataset", low=1, high=10**6)
    sprites_seed: int = option(1, "of the sprites dataset; training has 0: another seed, another world", **_SEED)
    sprites_world: str = option(
        "built-in",
        "how rich the sprites world is: the built-in model's, or speed=0.4 objects=[1,2]; empty as in training",
    )


@dataclass
class EvaluationConfig(ModelConfig):
    """What `inference_eval.py` can be told."""

    dataset: str | None = option(
        None,
        "GOT-10k val, the published 180 videos of YouTube-VIS, its held-out ones, or sprites, which need no files",
        ("got10k", "youvis", "youvis-heldout", "sprites"),
    )
    eval_data: EvaluationDataConfig = section(EvaluationDataConfig)
    output_dir: str = option("outputs/eval", "folder for the videos and the report; run again, it goes on", filled=True)
    seed: int = option(33, "of the videos", **_SEED)
    seeds: list[int] = option([], "several, in place of seed: a video of each clip for each of them", **_SEED)
    max_clips: int = option(0, "only the first so many clips; 0 for all", low=0, high=10**9)
    batch_size: int = option(1, "clips that are sampled together", low=1, high=10_000)
    num_workers: int = option(4, "threads that read clips", low=0, high=256)
    fps: float = option(8.0, "frames a second in the written videos", low=0.1, high=50)
    weights_sha256: str | None = option(None, "refuse weights with another hash (config.yaml of the output has it)")
    report: bool = option(True, "score the videos and write the report at the end")
    tracker: str = option("csrt", "that follows the objects in the videos", ("csrt", "sam2", "none"))
    sam2: str = option("facebook/sam2.1-hiera-large", "folder or hub id, for the tracker sam2")
    clip: str = option("openai/clip-vit-base-patch32", "folder or hub id, or none")
    dino: str = option("facebook/dino-vits16", "folder or hub id, or none")
    fvd_weights: str | None = option(None, "I3D as TorchScript; without it no FVD")

    def check_together(self) -> None:
        """Raise an InputError where the dataset needs a folder that is not named, or not there."""
        super().check_together()
        dataset = self.dataset or (self.eval_data.datasets or ["sprites"])[0]
        if dataset != "sprites":
            if not self.eval_data.path:
                raise InputError(f"no data: name the folder that holds {dataset.split('-')[0]}, eval_data.path=FOLDER")
            if not Path(self.eval_data.path).is_dir():
                raise InputError(
                    f"{self.eval_data.path}: no such folder; see docs/data.md for how datasets must lie on disk"
                )
