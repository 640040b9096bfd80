"""The files of one customized video."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from smcd.data.key_frames import PixelBox
from smcd.runtime import media
from smcd.runtime.errors import InputError
from smcd.runtime.files import check_writable, hidden

_PREVIEW_SIDE = 128  # pictures with boxes of smaller videos are enlarged to this
_FOLDERS = ("pred_img", "pred_box_img")
_FILES = ("cus_pred.gif", "cus_pred.mp4", "boxes_pred.gif", "strip.png", "prompt.txt", "config.yaml")


def check_outputs(out: Path) -> None:
    """Raise an InputError if a folder of outputs cannot be written."""
    check_writable(out)
    for name in (*_FOLDERS, *_FILES):
        target = out / name
        if target.exists() and target.is_dir() != (name in _FOLDERS):
            raise InputError(f"{target}: is in the way; rename it or choose another --output_dir")


def write_outputs(
    folder: Path,
    frames: np.ndarray,
    image: np.ndarray,
    boxes: Sequence[Sequence[PixelBox | None]],
    phrases: Sequence[str],
    texts: Mapping[str, str],
    formats: Sequence[str],
    fps: float,
) -> None:
    """Write one video's files beside `folder` first, then move them in, so that what is there is whole.

    Args:
        frames, image: the video F H W 3 and the user's image H W 3.
        texts: the contents of `prompt.txt` and `config.yaml`.
        formats: some of gif, mp4 and png.

    Raises an InputError if they cannot be written; what was there before stays.
    """
    try:
        with hidden(folder / "video") as temporary:
            with_boxes = media.draw_boxes(media.enlarge(frames, _PREVIEW_SIDE), boxes, phrases)
            if "png" in formats:
                media.write_frames(temporary / "pred_img", "pred_img", frames)
            for kind in {"gif", "mp4"} & set(formats):
                media.write_video(temporary / f"cus_pred.{kind}", frames, fps)
            media.write_frames(temporary / "pred_box_img", "pred_box_img", with_boxes)
            media.write_video(temporary / "boxes_pred.gif", with_boxes, fps)
            still = media.enlarge(np.stack([image] * len(frames)), _PREVIEW_SIDE)
            wanted = media.draw_boxes(still, boxes, phrases)
            media.write_image(temporary / "strip.png", media.strip(wanted, with_boxes))
            for file, text in texts.items():
                (temporary / file).write_text(text, encoding="utf-8")
            _replace_outputs(folder, temporary)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror or error})") from error


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
