"""Options of every command that samples: the weights, what they should be, guidance and precision."""

from dataclasses import dataclass, field

from smcd.config.options import option
from smcd.runtime.errors import InputError

PRESETS = {
    "published": {"scheduler": "ddim", "num_inference_steps": 50},
    "fast": {"scheduler": "dpmsolver++", "num_inference_steps": 20},
}
_LARGEST_SIDE = 8192
_LARGEST_SCALE = 1000  # of guidance: more is a mistake
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")


@dataclass
class SamplingConfig:
    """The published files' `validation_data`."""

    video_length: int = option(8, "frames of the video")
    width: int | None = option(
        None, "of the video, in pixels; otherwise as the model was trained: 256 for the full model (multiples of 64)"
    )
    height: int | None = option(None, "of the video, in pixels; otherwise as the model was trained")
    num_inference_steps: int = option(50, "denoising steps")
    guidance_scale: float | None = option(
        None, "text guidance; 1 switches it off; otherwise the model's own, 7.5 for the full model"
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
    validation_data: SamplingConfig = field(default_factory=SamplingConfig)
    img_free_guidance: float = option(0.0, "image guidance")
    ti_free_guidance: float = option(0.0, "guidance by text and image together")
    box_free_guidance: float = option(0.0, "box guidance")
    scheduler: str = option("ddim", "sampler", ("ddim", "dpmsolver++", "unipc"))
    preset: str | None = option(
        None,
        "scheduler and num_inference_steps, where not given with it: as published, or fast (docs/performance.md)",
        PRESETS,
    )
    resize: str = option("antialiased", "how the image is squashed", ("antialiased", "published"))
    mixed_precision: str | None = option(
        None, "autocast of the networks, as published; otherwise fp16 on a GPU, no elsewhere", ("no", "fp16", "bf16")
    )
    dtype: str = option("float32", "of the weights; 16 bits need half the memory", ("float32", "float16", "bfloat16"))
    low_memory: bool = option(False, "less memory, more time: guidance branches and frames one after the other")
    compile: bool = option(False, "torch.compile of the transformers: a slow first step, faster ones after it")
    compile_mode: str = option(
        "default", "torch.compile's; on a GPU reduce-overhead and max-autotune replay CUDA graphs", COMPILE_MODES
    )
    enable_xformers_memory_efficient_attention: bool = option(False, "attention through xformers")


def check_sampling(sampling: SamplingConfig) -> None:
    """Raise an InputError for numbers that make no sense."""
    for name, value in (
        ("video_length", sampling.video_length),
        ("num_inference_steps", sampling.num_inference_steps),
    ):
        if not 1 <= value <= 10_000:
            raise InputError(f"{name} is {value}; it must be from 1 to 10000")
    for name, side in (("width", sampling.width), ("height", sampling.height)):
        if side is not None and not 1 <= side <= _LARGEST_SIDE:
            raise InputError(f"{name} is {side}; it must be from 1 to {_LARGEST_SIDE}")
    if sampling.guidance_scale is not None:
        check_scale("guidance_scale", sampling.guidance_scale)


def check_scale(name: str, scale: float) -> None:
    """Raise an InputError for a guidance scale that makes no sense."""
    if not abs(scale) <= _LARGEST_SCALE:
        raise InputError(f"{name} is {scale}; it must be from -{_LARGEST_SCALE} to {_LARGEST_SCALE}")


def check_compile_mode(is_compiled: bool, mode: str) -> None:
    """Raise an InputError for a mode that would be without effect."""
    if mode != COMPILE_MODES[0] and not is_compiled:
        raise InputError(f"compile_mode is {mode}, but nothing is compiled: add --compile")
