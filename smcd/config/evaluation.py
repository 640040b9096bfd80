"""Options of `inference_eval.py`."""

from dataclasses import dataclass, field

from smcd.config.data import DataConfig
from smcd.config.model import ModelConfig
from smcd.config.options import option


@dataclass
class EvaluationConfig(ModelConfig):
    """What `inference_eval.py` can be told."""

    dataset: str = option(
        "sprites",
        "what is evaluated: GOT-10k val, the published 180 videos of YouTube-VIS, its held-out ones, or sprites",
        ("got10k", "youvis", "youvis-heldout", "sprites"),
    )
    eval_data: DataConfig = field(default_factory=DataConfig, metadata={"without_flags": True})
    output_dir: str = option("outputs/eval", "folder for the videos and the report; run again, it goes on")
    seeds: list[int] = option([33], "one video of each clip for each seed")
    max_clips: int = option(0, "the first so many clips; 0 for all")
    batch_size: int = option(1, "clips that are sampled together")
    num_workers: int = option(4, "threads that read clips")
    fps: float = option(8.0, "frames a second in the written videos")
    report: bool = option(True, "score the videos and write the report at the end")
    tracker: str = option("csrt", "that follows the objects in the videos", ("csrt", "sam2", "none"))
    sam2: str = option("facebook/sam2.1-hiera-large", "folder or hub id, for the tracker sam2")
    clip: str = option("openai/clip-vit-base-patch32", "folder or hub id, or none")
    dino: str = option("facebook/dino-vits16", "folder or hub id, or none")
    fvd_weights: str | None = option(None, "I3D as TorchScript; without it no FVD")
