"""From a config to a pipeline that is ready to sample: weights, scheduler, precision, attention."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch
from accelerate import PartialState
from diffusers.utils import is_xformers_available
from torch import nn

from smcd.conditions import NULL_OBJECTS
from smcd.config import ModelConfig, SamplingConfig, check
from smcd.convert import DEFAULT_BASE, load_pipeline, sampling_defaults
from smcd.inputs import Image, check_parts, check_paths, check_size
from smcd.models import use_channels_last
from smcd.pipeline import SMCDPipeline
from smcd.runtime.allocation import keep_freed_memory
from smcd.runtime.compilation import compile_transformers
from smcd.runtime.errors import InputError
from smcd.runtime.media import to_uint8
from smcd.runtime.precision import usable_precision
from smcd.runtime.processes import shared_work
from smcd.schedulers import first_timestep, make_scheduler

logger = logging.getLogger(__name__)
Config = TypeVar("Config", bound=ModelConfig)

_FAR = 2  # what is so many times more or less than in training gets a warning
_AUTOCAST = {"no": None, "fp16": torch.float16, "bf16": torch.bfloat16}


def with_defaults(config: Config) -> Config:
    """The config with width, height and text guidance filled in from the model, if they are not given.

    Raises an InputError if the weights are missing, or what they say makes no sense.
    """
    sampling = config.validation_data
    if None not in (sampling.height, sampling.width, sampling.guidance_scale):
        return config
    own = sampling_defaults(config.trained_ckpt_path, config.root_path or config.pretrained_model_path)
    sampling = replace(sampling, **{name: value for name, value in own.items() if getattr(sampling, name) is None})
    check(sampling, "validation_data.")
    return replace(config, validation_data=sampling)


def on_device() -> AbstractContextManager[PartialState]:
    """This process among those that share the sampling, and its device; see `shared_work`."""
    return shared_work("try --dtype float16, --low_memory, or a smaller --width, --height, --video_length or batch")


def clip_generator(seed: int, sequence: str) -> torch.Generator:
    """A generator for one clip: it depends on nothing but the seed and the clip's name."""
    digest = hashlib.sha256(f"{seed} {sequence}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


class Sampler:
    """A pipeline on its device, with weights, scheduler, precision and attention as the config says.

    Raises an InputError for weights that cannot be loaded, are not what the config expects, or do not fit the size.
    """

    def __init__(self, config: ModelConfig, device: torch.device, progress_bar: bool = False):
        config = with_defaults(config)
        self.config, self.device = config, device
        self._autocast = _autocast(config, device)
        self.pipe = _make_pipeline(config, device, self._autocast)
        self.pipe.set_progress_bar_config(disable=not progress_bar)

    def use(self, sampling: SamplingConfig) -> None:
        """Sample with another size, length or number of steps from now on. Raises an InputError if it does not fit."""
        config = with_defaults(replace(self.config, validation_data=sampling))
        _check_sampling(self.pipe, config)
        self.config = config

    def check_paths(self, image: object, boxes: object) -> None:
        """Raise an InputError if one is not None, and the weights have no path for it."""
        try:
            check_paths(self.pipe.unet.config, image, boxes)
        except InputError as error:
            raise InputError(f"{self.config.trained_ckpt_path}: {error}") from None

    def warn_if_unusual(self, objects: int, image: tuple[int, int] | None = None) -> None:
        """Log in one line what is far from training: the video, its number of objects, an image (width, height)."""
        sampling, own, far = self.config.validation_data, self.pipe.config, []
        height, width = sampling.size
        if _is_far(width, own.frame_width) or _is_far(height, own.frame_height):
            far.append(f"{width} x {height} pixels, not {own.frame_width} x {own.frame_height}")
        together = len(self.pipe.windows(sampling.video_length, sampling.window, sampling.window_stride)[0])
        if _is_far(together, own.num_frames):
            far.append(f"{together} frames, not {own.num_frames}")
        if objects > NULL_OBJECTS:
            far.append(f"{objects} objects, not up to {NULL_OBJECTS}")
        if image is not None and _is_far(image[0] * height, image[1] * width):
            far.append(f"an image of {image[0]} x {image[1]} pixels, squashed to {width} x {height}")
        if far:
            logger.warning(f"far from what the model was trained with, so expect less: {'; '.join(far)}")

    def __call__(
        self,
        prompts: list[str],
        images: Sequence[Image | None],
        boxes: list[Any],
        phrases: list[list[str]],
        generators: list[torch.Generator],
        callback: Callable[..., dict] | None = None,
    ) -> list[np.ndarray]:
        """Videos (F H W 3, uint8) of B clips; each is the same whatever else is in the batch.

        `callback` is the pipeline's `callback_on_step_end`.

        Raises an InputError if the network gave NaN or infinity.
        """
        config, sampling = self.config, self.config.validation_data
        height, width = sampling.size
        with torch.autocast(self.device.type, self._autocast) if self._autocast else nullcontext():
            [frames] = self.pipe(
                prompts,
                list(images) if any(image is not None for image in images) else None,
                boxes,
                phrases,
                num_frames=sampling.video_length,
                height=height,
                width=width,
                num_inference_steps=sampling.num_inference_steps,
                guidance_scale=sampling.guidance_scale,
                image_guidance_scale=config.img_free_guidance,
                text_image_guidance_scale=config.ti_free_guidance,
                box_guidance_scale=config.box_free_guidance,
                negative_prompt=config.negative_prompt,
                generator=generators,
                low_memory=config.low_memory,
                window=sampling.window,
                window_stride=sampling.window_stride,
                return_dict=False,
                callback_on_step_end=callback,
            )
        if not np.isfinite(frames).all():
            raise InputError("the network gave NaN or infinity: broken weights, or try --mixed_precision bf16 or no")
        return list(to_uint8(frames))


def _is_far(value: float, usual: float) -> bool:
    return not usual / _FAR < value < usual * _FAR


def _make_pipeline(config: ModelConfig, device: torch.device, autocast: torch.dtype | None) -> SMCDPipeline:
    pipe = load_pipeline(
        config.trained_ckpt_path,
        base=config.root_path or config.pretrained_model_path or DEFAULT_BASE,
        tokenizer=config.tokenizer or (config.pretrained_model_path if config.root_path else None),
        base_unet=config.pretrained_weight_path,
        dtype=getattr(torch, config.dtype),
    )
    _check_architecture(pipe, config)
    try:
        check_parts(pipe.unet.config, pipe.scheduler, pipe.position_net, pipe.image_encoder)
        pipe.scheduler = make_scheduler(config.scheduler, dict(pipe.scheduler.config))
    except ValueError as error:
        raise InputError(str(error)) from None
    _check_sampling(pipe, config)
    if autocast is not None:
        for part in (pipe.vae, pipe.text_encoder):  # as published: in half; the other networks under autocast
            nn.Module.to(part, autocast)
    if config.low_memory:
        pipe.enable_vae_slicing()
        for part in (pipe.unet, pipe.image_encoder):  # autocast keeps no copies of weights that do not train
            if part is not None:
                part.requires_grad_(False)
    if config.low_memory and device.type == "cuda":
        pipe.enable_model_cpu_offload(device=device)
    else:
        pipe.to(device)
    _tune(pipe, config, device)
    return pipe


def _check_sampling(pipe: SMCDPipeline, config: ModelConfig) -> None:
    """Refuse sizes and windows that the networks cannot do, or more steps than the noise schedule has."""
    sampling = config.validation_data
    check_size(sampling.video_length, *sampling.size, pipe.size_multiple)
    try:
        pipe.windows(sampling.video_length, sampling.window, sampling.window_stride)
        first = first_timestep(pipe.scheduler, sampling.num_inference_steps)
    except ValueError as error:
        raise InputError(str(error)) from None
    if first < 0.75 * pipe.scheduler.config.num_train_timesteps:
        steps = f"{sampling.num_inference_steps} steps of {config.scheduler}"
        logger.warning(f"{steps} begin at timestep {first}, below full noise: 10 to 100 steps give better videos")


def _tune(pipe: SMCDPipeline, config: ModelConfig, device: torch.device) -> None:
    """What makes sampling faster and changes no result beyond rounding; docs/performance.md has the measurements."""
    attention = "torch's scaled_dot_product_attention"
    if config.enable_xformers_memory_efficient_attention:
        if is_xformers_available() and torch.cuda.is_available():
            pipe.unet.enable_xformers_memory_efficient_attention()
            attention = "xformers"
        else:
            logger.warning("xformers is not installed, or there is no GPU for it: it is left out")
    logger.info(f"attention: {attention}")
    if device.type == "cpu":
        if not config.low_memory:
            keep_freed_memory()
        for part in (pipe.unet, pipe.image_encoder, pipe.vae):
            if part is not None:
                use_channels_last(part)
    if config.compile:
        compile_transformers(pipe.unet, config.compile_mode)


def _autocast(config: ModelConfig, device: torch.device) -> torch.dtype | None:
    """The published precision is fp16 autocast over float32 weights; None is no autocast."""
    default = "fp16" if device.type == "cuda" and config.dtype == "float32" else "no"
    return _AUTOCAST[usable_precision(config.mixed_precision or default, device.type)]


def _check_architecture(pipe: SMCDPipeline, config: ModelConfig) -> None:
    """Refuse weights that lack, or have more than, what the flags of the published command say."""
    unet, grounding = pipe.unet.config, config.train_grounding
    image_gate = config.cross_vision or grounding == "vanilla_cross_vision"
    for wrong, complaint in (
        (grounding is not None and not unet.object_gate, "no object gate; leave out --train_grounding"),
        (image_gate and not unet.image_gate, "no image gate; use --train_grounding vanilla and no --cross_vision"),
        (grounding == "vanilla" and unet.image_gate, "an image gate; use --train_grounding vanilla_cross_vision"),
        (config.cat_init and not unet.image_concat, "no zero conv; leave out --cat_init"),
    ):
        if wrong:
            raise InputError(f"{config.trained_ckpt_path}: has {complaint}")
