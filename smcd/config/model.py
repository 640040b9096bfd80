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
_FRAMES: dict[str, Any] = {"low": 1, "high": 10_000}
_SCALE: dict[str, Any] = {"low": -1000, "high": 1000}  # of guidance: more is a mistake
BASE = "ali-vilab/text-to-video-ms-1.7b"
GATES = ("vanilla", "vanilla_cross_vision")
PRECISIONS = ("no", "fp16", "bf16")
DTYPES = ("float32", "float16", "bfloat16")
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")


@dataclass
class SamplingConfig:
    """The published files' `validation_data`."""

    video_length: int = option(8, "number of frames in the video", **_FRAMES)
    width: int | None = option(None, "width of the video in pixels; by default as the model was trained", **_SIDE)
    height: int | None = option(None, "height of the video; both are multiples of 64 for the full model", **_SIDE)
    num_inference_steps: int = option(50, "number of denoising steps", low=1, high=10_000)
    guidance_scale: float | None = option(None, "text guidance, 1 for none; by default the model's own", **_SCALE)

    window: int | None = option(
        None, "frames of a window, in longer videos; by default as trained, 0 for none", low=0, high=10_000
    )
    window_stride: int | None = option(None, "frames from window to window; by default half a window", **_FRAMES)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, once both are known."""
        assert self.height is not None
        assert self.width is not None
        return self.height, self.width


@dataclass
class ModelConfig:
    """Which weights sample, and how."""

    trained_ckpt_path: str = option("sprites", "weights: published or pipeline folder, hub id, or the built-in model")
    pretrained_model_path: str | None = option(None, f"base of published weights, folder or hub id; otherwise {BASE}")
    root_path: str | None = option(None, "base as a ModelScope folder; pretrained_model_path then gives the tokenizer")
    tokenizer: str | None = option(None, "folder or hub id of the tokenizer, if not in the base")
    pretrained_weight_path: str | None = option(None, "file with the base UNet tensors that the checkpoint lacks")
    train_grounding: str | None = option(None, "expect weights with the object gate, or with both gates", GATES)
    cross_vision: bool = option(False, "expect weights with the image gate")
    cat_init: bool = option(False, "expect weights with the zero conv (first frame concatenated)")
    validation_data: SamplingConfig = section(SamplingConfig, short=True)
    negative_prompt: str | None = option(None, "what text guidance leads away from, in place of the empty prompt")
    img_free_guidance: float = option(0.0, "strength of image guidance", **_SCALE)
    ti_free_guidance: float = option(0.0, "strength of guidance by text and image together", **_SCALE)
    box_free_guidance: float = option(0.0, "strength of box guidance", **_SCALE)
    scheduler: str = option("ddim", "sampler", ("ddim", "dpmsolver++", "unipc"))
    preset: str | None = option(None, "sets scheduler and number of steps, if not given (docs/performance.md)", PRESETS)
    resize: str = option("antialiased", "how the image is resized", ("antialiased", "published"))
    mixed_precision: str | None = option(None, "autocast; otherwise fp16 on a GPU, no elsewhere", PRECISIONS)
    dtype: str = option("float32", "precision of the weights; 16 bits need half the memory", DTYPES)
    low_memory: bool = option(False, "use less memory and more time: branches and frames run one after the other")
    compile: bool = option(False, "compile the transformers: the first step is slow, later ones are faster")
    compile_mode: str = option("default", "mode of torch.compile, see docs/performance.md", COMPILE_MODES)
    enable_xformers_memory_efficient_attention: bool = option(False, "use the attention of xformers")

    def check_together(self) -> None:
        base = (self.pretrained_model_path, self.root_path, self.pretrained_weight_path)
        if self.trained_ckpt_path == SPRITES and any(base):
            raise InputError("a base is given, but no trained weights: add --trained_ckpt_path FOLDER_OR_HUB_ID")
        guidance = self.validation_data.guidance_scale
        if self.negative_prompt and guidance is not None and guidance <= 1:
            raise InputError(f"negative_prompt has no effect at a guidance_scale of {guidance}: leave one of them out")
        if self.compile_mode != "default" and not self.compile:
            raise InputError(f"compile_mode is {self.compile_mode}, but nothing is compiled: add --compile")
