"""The files of one customized video."""

import dataclasses
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import PIL.Image
import yaml

from smcd.config import CustomizeConfig
from smcd.customize.input_folder import CustomInput
from smcd.runtime import media
from smcd.runtime.errors import InputError
from smcd.runtime.files import check_writable

_PREVIEW_SIDE = 128  # pictures with boxes of smaller videos are enlarged to this
_FOLDERS = ("pred_img", "pred_box_img")
_FILES = ("cus_pred.gif", "cus_pred.mp4", "boxes_pred.gif", "strip.png", "prompt.txt", "config.yaml")


def check_outputs(out: Path) -> None:
    """Raise an InputError where a folder of outputs cannot be written."""
    check_writable(out)
    for name in (*_FOLDERS, *_FILES):
        target = out / name
        if target.exists() and target.is_dir() != (name in _FOLDERS):
            raise InputError(f"{target}: is in the way; rename it or choose another --output_dir")


def squashed(image: PIL.Image.Image, config: CustomizeConfig) -> PIL.Image.Image:
    """The image at the video's size."""
    height, width = config.validation_data.size
    return media.resize(image, height, width, antialias=config.resize == "antialiased")


def write_outputs(
    folder: Path, frames: np.ndarray, given: CustomInput, config: CustomizeConfig, formats: list[str], seed: int
) -> None:
    """Write one video's files beside `folder` first, then move them in: what is there is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
    try:
        with_boxes = media.draw_boxes(media.enlarge(frames, _PREVIEW_SIDE), given.boxes, given.phrases)
        for kind in formats:
            if kind == "png":
                media.write_frames(temporary / "pred_img", "pred_img", frames)
            else:
                media.write_video(temporary / f"cus_pred.{kind}", frames, config.fps)
        media.write_frames(temporary / "pred_box_img", "pred_box_img", with_boxes)
        media.write_video(temporary / "boxes_pred.gif", with_boxes, config.fps)
        still = np.stack([np.asarray(squashed(given.image, config))] * len(frames))
        wanted = media.draw_boxes(media.enlarge(still, _PREVIEW_SIDE), given.boxes, given.phrases)
        media.write_image(temporary / "strip.png", media.strip(wanted, with_boxes))
        (temporary / "prompt.txt").write_text(f"{config.prompt}\n", encoding="utf-8")
        resolved = dataclasses.replace(config, seed=seed, num_videos=1, output_dir=str(folder))  # this video alone
        text = yaml.safe_dump(dataclasses.asdict(resolved), sort_keys=False, allow_unicode=True)
        (temporary / "config.yaml").write_text(text, encoding="utf-8")
        _replace_outputs(folder, temporary)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _replace_outputs(folder: Path, temporary: Path) -> None:
    """Move new outputs into `folder`; those of an earlier video go, whatever else is there stays."""
    for name in _FOLDERS:
        for path in (folder / name).glob(f"{name}_*.png"):
            path.unlink()
        if (temporary / name).is_dir():
            (folder / name).mkdir(exist_ok=True)
            for path in (temporary / name).iterdir():
                os.replace(path, folder / name / path.name)
        elif (folder / name).is_dir() and not any((folder / name).iterdir()):
            (folder / name).rmdir()
    for name in _FILES:
        if (temporary / name).is_file():
            os.replace(temporary / name, folder / name)
        else:
            (folder / name).unlink(missing_ok=True)
