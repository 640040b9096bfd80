"""From a user's folder (image, boxes, phrases) to videos: the logic of `inference_customize.py`."""

import logging
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from accelerate import PartialState
from diffusers.utils import is_xformers_available
from omegaconf import OmegaConf

from smcd import media
from smcd.config import CustomizeConfig, check_choices
from smcd.convert import DEFAULT_BASE, load_pipeline
from smcd.custom_input import CustomInput, read_folder
from smcd.diffusion import make_scheduler
from smcd.errors import InputError
from smcd.inputs import check_paths, check_size
from smcd.pipeline import SMCDPipeline
from smcd.tiny import tiny_pipeline

logger = logging.getLogger(__name__)

_MOST_STEPS = 1000  # the model's training steps
_DTYPES = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def customize(config: CustomizeConfig) -> list[Path]:
    """Make the videos that `config` asks for; returns the folders that were written by this process.

    With several processes the videos are shared between them. Each folder holds `cus_pred.gif` and `.mp4`,
    `boxes_pred.gif`, `pred_box_img/`, `prompt.txt`, `config.yaml` and `strip.png` (the image with each frame's boxes
    above, the video below); each file appears when it is complete.

    Raises:
        InputError: anything in the input that does not fit; nothing is written then.
    """
    formats = _check(config)
    sampling = config.validation_data
    assert config.prompt is not None
    assert config.input_data_path is not None
    given = read_folder(Path(config.input_data_path), sampling.video_length, config.prompt, config.object)
    out = Path(config.output_dir)
    _check_writable(out)
    state = PartialState()
    seeds = range(config.seed, config.seed + config.num_videos)[state.process_index :: state.num_processes]
    if not seeds:
        return []  # more processes than videos
    pipe = _make_pipeline(config, state.device)
    try:
        check_size(sampling.video_length, sampling.height, sampling.width, pipe.size_multiple)
        check_paths(pipe.unet.config, given.image, given.boxes)
    except ValueError as error:
        raise InputError(str(error)) from None

    written = []
    for seed in seeds:
        try:
            frames = generate(pipe, given, config, seed)
        except torch.OutOfMemoryError:
            raise InputError(
                "not enough GPU memory: try --low_memory, --mixed_precision fp16, or a smaller --width, --height or "
                "--video_length"
            ) from None
        folder = out if config.num_videos == 1 else out / f"seed_{seed}"
        try:
            write_outputs(folder, frames, given, config, formats, seed)
        except OSError as error:
            raise InputError(f"{folder}: cannot be written ({error.strerror or error})") from error
        logger.info(f"wrote {folder}")
        written.append(folder)
    return written


def generate(pipe: SMCDPipeline, given: CustomInput, config: CustomizeConfig, seed: int) -> np.ndarray:
    """One video: uint8 frames F H W 3."""
    sampling = config.validation_data
    output = pipe(
        config.prompt,
        _squashed(given, config),
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
    return media.to_uint8(output[0][0])


def _squashed(given: CustomInput, config: CustomizeConfig) -> PIL.Image.Image:
    size = config.validation_data
    return media.resize(given.image, size.height, size.width, antialias=config.resize == "antialiased")


def write_outputs(
    folder: Path, frames: np.ndarray, given: CustomInput, config: CustomizeConfig, formats: list[str], seed: int
) -> None:
    """Write one video's files beside `folder` first, then move them in: what is there is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
    try:
        with_boxes = media.draw_boxes(frames, given.boxes, given.phrases)
        for kind in formats:
            if kind == "png":
                media.write_frames(temporary / "pred_img", "pred_img", frames)
            else:
                media.write_video(temporary / f"cus_pred.{kind}", frames, config.fps)
        media.write_frames(temporary / "pred_box_img", "pred_box_img", with_boxes)
        media.write_video(temporary / "boxes_pred.gif", with_boxes, config.fps)
        still = np.stack([np.asarray(_squashed(given, config))] * len(frames))
        wanted = media.draw_boxes(still, given.boxes, given.phrases)
        media.write_image(temporary / "strip.png", media.strip(wanted, with_boxes))
        (temporary / "prompt.txt").write_text(f"{config.prompt}\n", encoding="utf-8")
        resolved = OmegaConf.structured(config)
        resolved.seed, resolved.num_videos, resolved.output_dir = seed, 1, str(folder)  # this video alone
        OmegaConf.save(resolved, temporary / "config.yaml")
        for path in temporary.iterdir():
            target = folder / path.name
            if target.is_dir():
                shutil.rmtree(target)
            os.replace(path, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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
        ("fps", config.fps),
    ):
        if not 0 < value < float("inf"):
            raise InputError(f"{name} is {value}; it must be above 0")
    if sampling.num_inference_steps > _MOST_STEPS:
        raise InputError(f"num_inference_steps is {sampling.num_inference_steps}; it must be at most {_MOST_STEPS}")
    if not 0 <= config.seed < 2**63 - config.num_videos:
        raise InputError(f"seed is {config.seed}; it must be from 0 to 2^63")
    base = ("pretrained_model_path", "root_path", "pretrained_weight_path")
    if config.trained_ckpt_path is None and any(getattr(config, name) for name in base):
        raise InputError("a base is given, but no trained weights: add --trained_ckpt_path FOLDER_OR_HUB_ID")
    formats = [kind.strip() for kind in config.format.split(",")]
    if unknown := set(formats) - set(media.VIDEO_FORMATS):
        raise InputError(f"format {min(unknown)!r} is unknown; choose from {', '.join(media.VIDEO_FORMATS)}")
    return formats


def _check_writable(out: Path) -> None:
    existing = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise InputError(f"{out}: cannot be written: {existing} is a file; choose another --output_dir")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"{out}: cannot be written: no permission for {existing}; choose another --output_dir")


def _make_pipeline(config: CustomizeConfig, device: torch.device) -> SMCDPipeline:
    dtype = _dtype(config.mixed_precision, device)
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
    pipe.scheduler = make_scheduler(config.scheduler, dict(pipe.scheduler.config))
    if config.low_memory:
        pipe.enable_vae_slicing()
    if config.low_memory and device.type == "cuda":
        pipe.enable_model_cpu_offload(device=device)
    else:
        pipe.to(device)
    _choose_attention(pipe, config.enable_xformers_memory_efficient_attention)
    return pipe


def _dtype(mixed_precision: str | None, device: torch.device) -> torch.dtype:
    if device.type == "cpu" and mixed_precision == "fp16":
        logger.warning("fp16 is slow on a CPU: using float32 (bf16 can be chosen)")
        return torch.float32
    return _DTYPES[mixed_precision or ("fp16" if device.type == "cuda" else "no")]


def _check_architecture(pipe: SMCDPipeline, config: CustomizeConfig) -> None:
    """Refuse weights that lack, or have more than, what the flags of the published command say."""
    unet = pipe.unet.config
    with_image_gate = config.cross_vision or config.train_grounding == "vanilla_cross_vision"
    if config.train_grounding is not None and not unet.object_gate:
        raise InputError(f"{config.trained_ckpt_path}: has no object gate; leave out --train_grounding")
    if with_image_gate and not unet.image_gate:
        raise InputError(
            f"{config.trained_ckpt_path}: has no image gate; use --train_grounding vanilla and no --cross_vision"
        )
    if config.train_grounding == "vanilla" and unet.image_gate:
        raise InputError(f"{config.trained_ckpt_path}: has an image gate; use --train_grounding vanilla_cross_vision")
    if config.cat_init and not unet.image_concat:
        raise InputError(f"{config.trained_ckpt_path}: has no zero conv; leave out --cat_init")


def _choose_attention(pipe: SMCDPipeline, xformers: bool) -> None:
    name = "torch's scaled_dot_product_attention"
    if xformers and is_xformers_available() and torch.cuda.is_available():
        pipe.unet.enable_xformers_memory_efficient_attention()
        name = "xformers"
    elif xformers:
        logger.warning("xformers is not installed, or there is no GPU for it: it is left out")
    logger.info(f"attention: {name}")
