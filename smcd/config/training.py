"""Options of `smcd train` and `ms_main.py`, by what they say; each function of a run takes the part that it uses."""

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from smcd.config.data import DataConfig
from smcd.config.model import GATES, PRECISIONS, SamplingConfig
from smcd.config.options import option, section
from smcd.runtime.built_in import TINY
from smcd.runtime.errors import InputError

SCHEDULES = ("constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial")
_POSITIVE: dict[str, Any] = {"low": 1, "high": 2**31 - 1}
_COUNT: dict[str, Any] = {"low": 0, "high": 2**31 - 1}
_FACTOR: dict[str, Any] = {"low": 0, "below": 1}


@dataclass
class DrawOptions:
    """What is trained on, and the seed of every draw."""

    train_data: DataConfig = section(DataConfig)
    seed: int = option(33, "seed of everything that is drawn at random", **_COUNT)


@dataclass
class StageOptions(DrawOptions):
    """What the network is and what trains of it (see `smcd.training.stages`)."""

    stage: str | None = option(
        None,
        "what trains: 1 (boxes, on images), 2 (image paths, on videos), base (text to video); otherwise the published "
        "flags say it",
        ("1", "2", "base"),
    )
    train_grounding: str | None = option(None, "have the object gate, or both gates", GATES)
    cross_vision: bool = option(False, "have the image gate")
    cat_init: bool = option(False, "have the zero conv, which concatenates the first frame")
    use_image_dataset: bool = option(False, "train on images, as stage 1 does")
    use_img_free_guidance: bool = option(False, "drop the image too in stage 2, for image guidance")
    train_text_encoder: bool = option(False, "train the text encoder too, in stage base")
    trainable_modules: list[str] = option(
        [], "train the UNet's modules whose names have these parts, in place of the stage's; . is in all names"
    )


@dataclass
class StartOptions(DrawOptions):
    """The weights to start from, and how paths that they lack begin."""

    pretrained_model_path: str | None = option(None, f"base: folder or hub id, or {TINY} for an untrained tiny model")
    root_path: str | None = option(None, "base as a ModelScope folder; pretrained_model_path then gives the tokenizer")
    tokenizer: str | None = option(None, "folder or hub id of the tokenizer, if not in the base")
    pretrained_weight_path: str | None = option(None, "file with the base's UNet, in place of the base's own")
    tune_from_ckpt_path: str | None = option(None, "weights to start from: run, checkpoint-N, model folder or hub id")
    new_position_net: bool = option(False, "start with a fresh PositionNet where the weights have none")
    new_image_paths: bool = option(False, "start with fresh image paths, also where the weights have them")
    only_cat_first_frame: bool = option(False, "concatenate the first frame's latents to itself, zeros to the others")
    gate_init: float = option(0.0, "alpha of fresh gates: 0 is closed, as published; 1 suits a small model")


@dataclass
class ModelOptions(StartOptions, StageOptions):
    """The networks of a run, and how they compute their loss."""

    mixed_precision: str = option("no", "autocast; on a CPU fp16 becomes no, and bf16 if oneDNN lacks it", PRECISIONS)
    gradient_checkpointing: bool = option(False, "recompute activations, which needs less memory and more time")
    enable_xformers_memory_efficient_attention: bool = option(False, "use the attention of xformers")
    snr_gamma: float = option(0.0, "min-SNR weighting of the loss, 5 is usual; 0 is off, as published", low=0)


@dataclass
class OptimizerOptions(DrawOptions):
    """The steps: how many, on how many clips, and what the optimizer does in them."""

    max_train_steps: int = option(200_000, "number of steps; a step is one update of the weights", **_POSITIVE)
    train_batch_size: int = option(4, "number of clips in a batch, on each process", **_POSITIVE)
    gradient_accumulation_steps: int = option(1, "number of batches for one step, on each process", **_POSITIVE)
    num_workers: int = option(
        min(4, os.cpu_count() or 1), "number of processes that read data, beside each training process", **_COUNT
    )
    learning_rate: float = option(5e-5, "learning rate of AdamW", above=0)
    scale_lr: bool = option(False, "multiply the rate by accumulation x batch x processes")
    lr_scheduler: str = option("constant", "how the rate changes", SCHEDULES)
    lr_warmup_steps: int = option(0, "number of steps in which the rate rises from 0", **_COUNT)
    adam_beta1: float = option(0.9, "first decay rate of AdamW", **_FACTOR)
    adam_beta2: float = option(0.999, "second decay rate of AdamW", **_FACTOR)
    adam_weight_decay: float = option(1e-2, "weight decay of AdamW", low=0)
    adam_epsilon: float = option(1e-8, "epsilon of AdamW", above=0)
    max_grad_norm: float = option(1.0, "gradients are scaled down to this norm", above=0)
    use_8bit_adam: bool = option(False, "AdamW with 8-bit state, where bitsandbytes is installed")
    use_ema: bool = option(False, "keep a running average of the weights, and export it")
    ema_decay: float = option(0.9999, "decay of the running average", **_FACTOR)


@dataclass
class TrackerConfig:
    """Where Weights & Biases files the run."""

    entity: str | None = option(None, "user or team in Weights & Biases")
    project: str = option("smcd", "project in every tracker")
    group: str | None = option(None, "group of runs in Weights & Biases")


@dataclass
class LoopOptions(OptimizerOptions):
    """The steps, and what is kept and shown along the way."""

    checkpointing_steps: int = option(10_000, "steps between checkpoints; there is always one at the end", **_POSITIVE)
    checkpoints_total_limit: int = option(0, "how many checkpoints are kept, the latest ones; 0 keeps all", **_COUNT)
    logging_steps: int = option(10, "steps between entries of the trackers", **_POSITIVE)
    report_to: list[str] = option(["jsonl"], "trackers: any of these", ("jsonl", "tensorboard", "wandb"))
    use_wandb: bool = option(False, "the same as adding wandb to report_to")
    tracker: TrackerConfig = section(TrackerConfig)


@dataclass
class ValidationOptions:
    """When and on what a run is validated."""

    eval_data: DataConfig = section(partial(DataConfig, split="val", start="0", held_out="only"))
    validation_steps: int = option(0, "steps between validations; 0 for none", **_COUNT)
    val_batch_size: int = option(4, "number of clips in a batch of validation, on each process", **_POSITIVE)
    validation_clips: int = option(16, "number of clips in eval_data whose loss is measured", **_COUNT)
    validation_videos: int = option(2, "number of clips in eval_data for which a video is made", **_COUNT)
    validation_data: SamplingConfig = section(SamplingConfig)


@dataclass
class TrainConfig(ValidationOptions, LoopOptions, ModelOptions):  # dataclasses order options from the last base on
    """What `smcd train` can be told."""

    output_dir: str = option("outputs/train", "folder of the run; the same command resumes there", filled=True)
    dry_run: bool = option(False, "print what would train, memory and steps, and stop")
    resume_from_checkpoint: str = option("latest", "latest (in output_dir, if there is one), a path, or none")

    def check_together(self) -> None:
        if self.lr_warmup_steps and self.lr_scheduler == "constant":
            raise InputError("lr_warmup_steps needs --lr_scheduler constant_with_warmup, or another one that warms up")
        if Path(self.output_dir).is_file():
            raise InputError(f"{self.output_dir}: is a file; choose another --output_dir")
        self.train_data.check_folder()
        if self.validation_steps and (self.eval_data.path or self.eval_data.data_path):
            self.eval_data.check_folder()
        weights = (self.pretrained_model_path, self.root_path, self.tune_from_ckpt_path, self.pretrained_weight_path)
        if not self.train_data.made and not any(weights):
            raise InputError(
                "no weights: name the base, --pretrained_model_path FOLDER_OR_HUB_ID, or weights to go on from, "
                f"--tune_from_ckpt_path; --pretrained_model_path {TINY} trains an untrained tiny model, as a trial"
            )


@dataclass
class ShowConfig:
    """What `smcd show` can be told."""

    shares_files_with = TrainConfig

    out: str = option("outputs/data.png", "picture to write, .png or .jpg")
    clips: int = option(8, "number of clips to show, in the order of training", low=1)
    seed: int = option(33, "seed of the order and of each clip's random choices", low=0)
    train_data: DataConfig = section(DataConfig, short=True)

    def check_together(self) -> None:
        if Path(self.out).suffix not in (".png", ".jpg"):
            raise InputError(f"--out {self.out}: name a .png or .jpg")
        self.train_data.check_folder()
