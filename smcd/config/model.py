"""Options of every command that samples: the weights, what they should be, guidance and precision."""

from dataclasses import dataclass
from typing import Any

from smcd.config.options import option, section
from smcd.runtime.built_in import SPRITES
from smcd.runtime.errors import InputError

PRESETS = {
    "published": {"scheduler": "ddim", "validation_data.num_inference_steps": 50},
    "fast": {"scheduler": "dpmsolver++", "validation_data.num_inference_steps": 20},
}
_SIDE: dict[str, Any] = {"low": 1, "high": 8192}
_SCALE: dict[str, Any] = {"low": -1000, "high": 1000}  # of guidance: more is a mistake
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")


@dataclass
class SamplingConfig:
    """The published files' `validation_data`."""

    video_length: int = option(8, "number of frames in the video", low=1, high=10_000)
    width: int | None = option(
        None,
        "width of the video in pixels, a multiple of 64 for the full model; default: as the model was trained",
        **_SIDE,
    )
    height: int | None = option(None, "height of the video in pixels; default: as the model was trained", **_SIDE)
    num_inference_steps: int = option(50, "number of denoising steps", low=1, high=10_000)
    guidance_scale: float | None = option(
        None, "strength of text guidance; 1 switches it off; default: the model's own, 7.5 for the full model", **_SCALE
    )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, once both are known."""
        assert self.height is not None
        assert self.width is not None
        return self.height, self.width


@dataclass
class ModelConfig:
    """Which weights sample, and how."""

    trained_ckpt_path: str = option(
        "sprites", "trained weights: published folder, pipeline folder, hub id, or the small model that is built in"
    )
    pretrained_model_path: str | None = option(
        None,
        "base of published weights: diffusers or pipeline folder, or hub id; otherwise ali-vilab/text-to-video-ms-1.7b",
    )
    root_path: str | None = option(
        None, "the base as a ModelScope folder; pretrained_model_path then gives the tokenizer"
    )
    tokenizer: str | None = option(None, "folder or hub id of the tokenizer, if not in the base")
    pretrained_weight_path: str | None = option(None, "file with the base UNet tensors that the checkpoint lacks")
    train_grounding: str | None = option(
        None,
        "expect weights with the object gate (vanilla) or with both gates (vanilla_cross_vision)",
        ("vanilla", "vanilla_cross_vision"),
    )
    cross_vision: bool = option(False, "expect weights with the image gate")
    cat_init: bool = option(False, "expect weights with the zero conv (first frame concatenated)")
    validation_data: SamplingConfig = section(SamplingConfig, short=True)
    img_free_guidance: float = option(0.0, "strength of image guidance", **_SCALE)
    ti_free_guidance: float = option(0.0, "strength of guidance by text and image together", **_SCALE)
    box_free_guidance: float = option(0.0, "strength of box guidance", **_SCALE)
    scheduler: str = option("ddim", "sampler", ("ddim", "dpmsolver++", "unipc"))
    preset: str | None = option(
        None,
        "scheduler and num_inference_steps, where not given with it: as published, or fast (docs/performance.md)",
        PRESETS,
    )
    resize: str = option("antialiased", "how the image is resized", ("antialiased", "published"))
    mixed_precision: str | None = option(
        None, "autocast of the networks, as published; otherwise fp16 on a GPU, no elsewhere", ("no", "fp16", "bf16")
    )
    dtype: str = option(
        "float32", "precision of the weights; 16 bits need half the memory", ("float32", "float16", "bfloat16")
    )
    low_memory: bool = option(
        False, "need less memory and more time: guidance branches and frames run one after the other"
    )
    compile: bool = option(False, "torch.compile of the transformers: a slow first step, faster ones after it")
    compile_mode: str = option(
        "default", "torch.compile's; on a GPU reduce-overhead and max-autotune replay CUDA graphs", COMPILE_MODES
    )
    enable_xformers_memory_efficient_attention: bool = option(False, "attention through xformers")

    def check_together(self) -> None:
        """Raise an InputError for a base without weights, and for a mode that would be without effect."""
        base = (self.pretrained_model_path, self.root_path, self.pretrained_weight_path)
        if self.trained_ckpt_path == SPRITES and any(base):
            raise InputError("a base is given, but no trained weights: add --trained_ckpt_path FOLDER_OR_HUB_ID")
        check_compile_mode(self.compile, self.compile_mode)


def check_compile_mode(is_compiled: bool, mode: str) -> None:
    """Raise an InputError for a mode that would be without effect."""
    if mode != COMPILE_MODES[0] and not is_compiled:
        raise InputError(f"compile_mode is {mode}, but nothing is compiled: add --compile")
