"""From a user's folder (image, boxes, phrases) to videos: the logic of `inference_customize.py`."""

import contextlib
import logging
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from diffusers import SchedulerMixin
from diffusers.utils import is_xformers_available
from torch import nn

from smcd import media
from smcd.config import CustomizeConfig, check_choices
from smcd.convert import DEFAULT_BASE, load_pipeline
from smcd.custom_input import CustomInput, read_folder
from smcd.custom_output import check_writable, squashed, write_outputs
from smcd.diffusion import make_scheduler
from smcd.errors import InputError
from smcd.inputs import check_parts, check_paths, check_size
from smcd.key_frames import is_text
from smcd.pipeline import SMCDPipeline
from smcd.tiny import tiny_pipeline

logger = logging.getLogger(__name__)

_LARGEST_SIDE = 8192
_LARGEST_SCALE = 1000
_AUTOCAST = {"no": None, "fp16": torch.float16, "bf16": torch.bfloat16}


def customize(config: CustomizeConfig) -> list[Path]:
    """Make the videos that `config` asks for; returns the folders that were written by this process.

    With several processes the videos are shared between them. Each folder holds `cus_pred.gif` and `.mp4`,
    `boxes_pred.gif`, `pred_box_img/`, `prompt.txt`, `config.yaml` and `strip.png` (the image with each frame's boxes
    above, the video below); each file appears when it is complete.

    Raises:
        InputError: anything in the input that does not fit; nothing is written then.
    """
    formats = _check(config)
    assert config.prompt is not None
    assert config.input_data_path is not None
    given = read_folder(Path(config.input_data_path), config.validation_data.video_length, config.prompt, config.object)
    out = Path(config.output_dir)
    seeds = range(config.seed, config.seed + config.num_videos)
    folders = {seed: out if len(seeds) == 1 else out / f"seed_{seed}" for seed in seeds}
    for folder in folders.values():
        check_writable(folder)
    accelerator = torch.cuda.is_available() or torch.backends.mps.is_available()
    state = PartialState(cpu=not accelerator)
    mine = seeds[state.process_index :: state.num_processes]
    if not mine:
        return []  # more processes than videos
    try:
        return _make_videos(config, given, state.device, {seed: folders[seed] for seed in mine}, formats)
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        raise InputError(
            "not enough memory: try --dtype float16, --low_memory, or a smaller --width, --height or --video_length"
        ) from error
    finally:
        state.destroy_process_group()


def _make_videos(
    config: CustomizeConfig, given: CustomInput, device: torch.device, folders: dict[int, Path], formats: list[str]
) -> list[Path]:
    autocast = _autocast(config, device)
    pipe = _make_pipeline(config, device, autocast)
    sampling = config.validation_data
    try:
        check_size(sampling.video_length, sampling.height, sampling.width, pipe.size_multiple)
        check_parts(pipe.unet.config, pipe.scheduler.config, pipe.position_net, pipe.image_encoder)
        check_paths(pipe.unet.config, given.image, given.boxes)
    except ValueError as error:
        raise InputError(str(error)) from None
    for seed, folder in folders.items():
        with torch.autocast(device.type, autocast) if autocast else contextlib.nullcontext():
            frames = generate(pipe, given, config, seed)
        try:
            write_outputs(folder, frames, given, config, formats, seed)
        except OSError as error:
            raise InputError(f"{folder}: cannot be written ({error.strerror or error})") from error
        logger.info(f"wrote {folder}")
    return list(folders.values())


def generate(pipe: SMCDPipeline, given: CustomInput, config: CustomizeConfig, seed: int) -> np.ndarray:
    """One video: uint8 frames F H W 3."""
    sampling = config.validation_data
    output = pipe(
        config.prompt,
        squashed(given.image, config),
        given.boxes,
        given.phrases,
        num_frames=sampling.video_length,
        height=sampling.height,
        width=sampling.width,
        num_inference_steps=sampling.num_inference_steps,
        guidance_scale=sampling.guidance_scale,
        image_guidance_scale=config.img_free_guidance,
        text_image_guidance_scale=config.ti_free_guidance,
        box_guidance_scale=config.box_free_guidance,
        generator=torch.Generator().manual_seed(seed),
        low_memory=config.low_memory,
        return_dict=False,
    )
    frames = output[0][0]
    if not np.isfinite(frames).all():
        raise InputError("the network gave NaN or infinity: broken weights, or try --mixed_precision bf16 or no")
    return media.to_uint8(frames)


def _check(config: CustomizeConfig) -> list[str]:
    """Raise an InputError for what can be told from the config alone; returns the formats."""
    if not config.prompt or not config.prompt.strip():
        raise InputError('no prompt: say what happens in the video, --prompt "A red car drives to the right."')
    if config.input_data_path is None:
        raise InputError("no input: give a folder with img.png and bbox.txt, --input_data_path FOLDER")
    check_choices(config)
    sampling = config.validation_data
    for name, value in (
        ("video_length", sampling.video_length),
        ("num_inference_steps", sampling.num_inference_steps),
        ("num_videos", config.num_videos),
    ):
        if not 1 <= value <= 10_000:
            raise InputError(f"{name} is {value}; it must be from 1 to 10000")
    for name, side in (("width", sampling.width), ("height", sampling.height)):
        if not 1 <= side <= _LARGEST_SIDE:
            raise InputError(f"{name} is {side}; it must be from 1 to {_LARGEST_SIDE}")
    scales = (config.img_free_guidance, config.ti_free_guidance, config.box_free_guidance, sampling.guidance_scale)
    if not all(abs(scale) <= _LARGEST_SCALE for scale in scales):
        raise InputError(f"guidance scales are {scales}; they must be from -{_LARGEST_SCALE} to {_LARGEST_SCALE}")
    if not config.output_dir.strip():
        raise InputError("output_dir is empty: name a folder (is a variable of your shell not set?)")
    if not 0.1 <= config.fps <= 50:
        raise InputError(f"fps is {config.fps}; it must be from 0.1 to 50 (what GIF can play)")
    if not is_text(config.prompt):
        raise InputError("the prompt holds bytes that are no text; type it again")
    if not 0 <= config.seed < 2**63 - config.num_videos:
        raise InputError(f"seed is {config.seed}; it must be from 0 to 2^63 - 1 - num_videos")
    base = ("pretrained_model_path", "root_path", "pretrained_weight_path")
    if config.trained_ckpt_path is None and any(getattr(config, name) for name in base):
        raise InputError("a base is given, but no trained weights: add --trained_ckpt_path FOLDER_OR_HUB_ID")
    formats = [kind.strip() for kind in config.format.split(",")]
    if unknown := set(formats) - set(media.VIDEO_FORMATS):
        raise InputError(f"format {min(unknown)!r} is unknown; choose from {', '.join(media.VIDEO_FORMATS)}")
    return formats


def _make_pipeline(config: CustomizeConfig, device: torch.device, autocast: torch.dtype | None) -> SMCDPipeline:
    dtype = getattr(torch, config.dtype)
    if config.trained_ckpt_path is None:
        logger.warning(
            "no --trained_ckpt_path: using a tiny untrained model, whose videos are noise; it shows that everything "
            "is in place, not what SMCD can do"
        )
        pipe = tiny_pipeline(dtype=dtype)
    else:
        pipe = load_pipeline(
            config.trained_ckpt_path,
            base=config.root_path or config.pretrained_model_path or DEFAULT_BASE,
            tokenizer=config.tokenizer or (config.pretrained_model_path if config.root_path else None),
            base_unet=config.pretrained_weight_path,
            dtype=dtype,
        )
    _check_architecture(pipe, config)
    pipe.scheduler = _make_scheduler(pipe, config)
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
    _choose_attention(pipe, config.enable_xformers_memory_efficient_attention)
    return pipe


def _make_scheduler(pipe: SMCDPipeline, config: CustomizeConfig) -> SchedulerMixin:
    scheduler = make_scheduler(config.scheduler, dict(pipe.scheduler.config))
    steps, trained = config.validation_data.num_inference_steps, scheduler.config.num_train_timesteps
    scheduler.set_timesteps(min(steps, trained))
    first = int(scheduler.timesteps.max())
    if steps > trained // 2 or first >= trained:
        raise InputError(f"num_inference_steps is {steps}; {config.scheduler} takes at most {trained // 2}")
    if first < 0.75 * trained:
        logger.warning(
            f"{steps} steps of {config.scheduler} begin at timestep {first} of {trained}, below full noise: 10 to 100 "
            "steps give better videos"
        )
    return scheduler


def _autocast(config: CustomizeConfig, device: torch.device) -> torch.dtype | None:
    """The published precision is fp16 autocast over float32 weights; None is no autocast."""
    chosen = config.mixed_precision
    if chosen is None:
        chosen = "fp16" if device.type == "cuda" and config.dtype == "float32" else "no"
    if device.type == "cpu" and chosen == "fp16":
        logger.warning("fp16 is slow on a CPU: using float32 (bf16 can be chosen)")
        chosen = "no"
    return _AUTOCAST[chosen]


def _check_architecture(pipe: SMCDPipeline, config: CustomizeConfig) -> None:
    """Refuse weights that lack, or have more than, what the flags of the published command say."""
    unet, weights = pipe.unet.config, config.trained_ckpt_path or "the built-in model"
    with_image_gate = config.cross_vision or config.train_grounding == "vanilla_cross_vision"
    if config.train_grounding is not None and not unet.object_gate:
        raise InputError(f"{weights}: has no object gate; leave out --train_grounding")
    if with_image_gate and not unet.image_gate:
        raise InputError(f"{weights}: has no image gate; use --train_grounding vanilla and no --cross_vision")
    if config.train_grounding == "vanilla" and unet.image_gate:
        raise InputError(f"{weights}: has an image gate; use --train_grounding vanilla_cross_vision")
    if config.cat_init and not unet.image_concat:
        raise InputError(f"{weights}: has no zero conv; leave out --cat_init")


def _choose_attention(pipe: SMCDPipeline, xformers: bool) -> None:
    name = "torch's scaled_dot_product_attention"
    if xformers and is_xformers_available() and torch.cuda.is_available():
        pipe.unet.enable_xformers_memory_efficient_attention()
        name = "xformers"
    elif xformers:
        logger.warning("xformers is not installed, or there is no GPU for it: it is left out")
    logger.info(f"attention: {name}")
