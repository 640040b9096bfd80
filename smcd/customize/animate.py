"""From a user's folder (image, boxes, phrases) to videos: the logic of `inference_customize.py`."""

import logging
from pathlib import Path

import torch

from smcd.config import CustomizeConfig, check_choices
from smcd.customize.input_folder import CustomInput, read_folder
from smcd.customize.output_folder import check_outputs, squashed, write_outputs
from smcd.data.key_frames import is_text
from smcd.runtime import media
from smcd.runtime.built_in import SPRITES
from smcd.runtime.errors import InputError
from smcd.sampler import Sampler, check_model_config, on_device, with_defaults
from smcd.sprites.built_in import log_overlap, warn_of_limits

logger = logging.getLogger(__name__)


def customize(config: CustomizeConfig) -> list[Path]:
    """Make the videos that `config` asks for; returns the folders that were written by this process.

    With several processes the videos are shared between them. Each folder holds `cus_pred.gif` and `.mp4`,
    `boxes_pred.gif`, `pred_box_img/`, `prompt.txt`, `config.yaml` and `strip.png` (the image with each frame's boxes
    above, the video below); each file appears when it is complete.

    Raises:
        InputError: anything in the input that does not fit; nothing is written then.
    """
    formats = _check(config)
    config = with_defaults(config)
    assert config.prompt is not None
    assert config.input_data_path is not None
    given = read_folder(Path(config.input_data_path), config.validation_data.video_length, config.prompt, config.object)
    out = Path(config.output_dir)
    seeds = range(config.seed, config.seed + config.num_videos)
    folders = {seed: out if len(seeds) == 1 else out / f"seed_{seed}" for seed in seeds}
    for folder in folders.values():
        check_outputs(folder)
    with on_device() as state:
        mine = seeds[state.process_index :: state.num_processes]
        if not mine:
            return []  # more processes than videos
        return _make_videos(config, given, state.device, {seed: folders[seed] for seed in mine}, formats)


def _make_videos(
    config: CustomizeConfig, given: CustomInput, device: torch.device, folders: dict[int, Path], formats: list[str]
) -> list[Path]:
    assert config.prompt is not None
    sampler = Sampler(config, device, progress_bar=True)
    sampler.check_paths(given.image, given.boxes)
    built_in = config.trained_ckpt_path == SPRITES
    if built_in:
        warn_of_limits(sampler.pipe.tokenizer, [config.prompt, *given.phrases])
    for seed, folder in folders.items():
        generator = torch.Generator().manual_seed(seed)
        image = squashed(given.image, config)
        [frames] = sampler([config.prompt], [image], [given.boxes], [given.phrases], [generator])
        if built_in:
            log_overlap(frames, given.boxes, given.phrases)
        try:
            write_outputs(folder, frames, given, config, formats, seed)
        except OSError as error:
            raise InputError(f"{folder}: cannot be written ({error.strerror or error})") from error
        logger.info(f"wrote {folder}")
    return list(folders.values())


def _check(config: CustomizeConfig) -> list[str]:
    """Raise an InputError for what can be told from the config alone; returns the formats."""
    if not config.prompt or not config.prompt.strip():
        raise InputError('no prompt: say what happens in the video, --prompt "A red car drives to the right."')
    if config.input_data_path is None:
        raise InputError("no input: give a folder with img.png and bbox.txt, --input_data_path FOLDER")
    check_choices(config)
    check_model_config(config)
    if not 1 <= config.num_videos <= 10_000:
        raise InputError(f"num_videos is {config.num_videos}; it must be from 1 to 10000")
    if not config.output_dir.strip():
        raise InputError("output_dir is empty: name a folder (is a variable of your shell not set?)")
    if not 0.1 <= config.fps <= 50:
        raise InputError(f"fps is {config.fps}; it must be from 0.1 to 50 (what GIF can play)")
    if not is_text(config.prompt):
        raise InputError("the prompt holds bytes that are no text; type it again")
    if not 0 <= config.seed < 2**63 - config.num_videos:
        raise InputError(f"seed is {config.seed}; it must be from 0 to 2^63 - 1 - num_videos")
    formats = [kind.strip() for kind in config.format.split(",")]
    if unknown := set(formats) - set(media.VIDEO_FORMATS):
        raise InputError(f"format {min(unknown)!r} is unknown; choose from {', '.join(media.VIDEO_FORMATS)}")
    return formats
