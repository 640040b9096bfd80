"""From a user's folder (image, boxes, phrases) to videos: the logic of `inference_customize.py`."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from smcd.config import CustomizeConfig, check, yaml_text
from smcd.customize.input_folder import CustomInput, read_folder
from smcd.customize.output_folder import check_outputs, write_outputs
from smcd.runtime import media
from smcd.runtime.built_in import SPRITES

if TYPE_CHECKING:
    from smcd.sampler import Sampler  # it imports torch

logger = logging.getLogger(__name__)


def customize(config: CustomizeConfig) -> list[Path]:
    """Make the videos that `config` asks for; returns the folders that were written by this process.

    With several processes the videos are shared between them. Each folder holds `cus_pred.gif` and `.mp4`,
    `boxes_pred.gif`, `pred_box_img/`, `prompt.txt`, `config.yaml` and `strip.png` (the image with each frame's boxes
    above, the video below); each file appears when it is complete.

    Raises an InputError for anything in the input that does not fit; nothing is written then.
    """
    check(config)
    prompt = str(config.prompt)
    given = read_folder(Path(str(config.input_data_path)), config.validation_data.video_length, prompt, config.object)
    out, seeds = Path(config.output_dir), range(config.seed, config.seed + config.num_videos)
    folders = {seed: out if len(seeds) == 1 else out / f"seed_{seed}" for seed in seeds}
    for folder in folders.values():
        check_outputs(folder)

    from smcd.sampler import Sampler, on_device, with_defaults  # here: what is wrong in the input is said at once

    config = with_defaults(config)
    with on_device() as state:
        mine = seeds[state.process_index :: state.num_processes]
        if not mine:
            return []  # more processes than videos
        sampler = Sampler(config, state.device, progress_bar=True)
        make_videos(sampler, config, given, {seed: folders[seed] for seed in mine})
        return [folders[seed] for seed in mine]


def make_videos(
    sampler: "Sampler",
    config: CustomizeConfig,
    given: CustomInput,
    folders: Mapping[int, Path],
    callback: Callable[..., dict] | None = None,
) -> None:
    """Make a video for each seed, and write it into its folder; `config` has all its values."""
    import torch

    from smcd.sprites.feedback import log_overlap, warn_of_limits

    prompt = str(config.prompt)
    sampler.check_paths(given.image, given.boxes)
    sampler.warn_if_unusual(len(given.phrases), given.image.size)
    built_in = config.trained_ckpt_path == SPRITES
    if built_in:
        warn_of_limits(sampler.pipe.tokenizer, [prompt, *given.phrases])
    image = media.resize(given.image, *config.validation_data.size, antialias=config.resize == "antialiased")
    for seed, folder in folders.items():
        generator = torch.Generator().manual_seed(seed)
        [frames] = sampler([prompt], [image], [given.boxes], [given.phrases], [generator], callback)
        if built_in:
            log_overlap(frames, given.boxes, given.phrases)
        alone = replace(config, seed=seed, num_videos=1, output_dir=str(folder))  # without the other videos
        texts = {"prompt.txt": f"{prompt}\n", "config.yaml": yaml_text(asdict(alone))}
        pictures = (frames, np.asarray(image), given.boxes, given.phrases)
        write_outputs(folder, *pictures, texts, config.format, config.fps)
        logger.info(f"wrote {folder}")
