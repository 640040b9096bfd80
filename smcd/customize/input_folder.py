"""A user's folder: `img.*` with `bbox.txt` (one object) or `objects.json` (several), boxes in the image's pixels."""

import logging
from dataclasses import dataclass
from pathlib import Path

import PIL.Image

from smcd.data.key_frames import PixelBox, make_track, read_bbox_txt, read_objects_json
from smcd.runtime.errors import InputError
from smcd.runtime.media import read_image

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True)
class CustomInput:
    """What the user gave. `boxes`: F lists of N boxes, xyxy in 0..1, None where the object is absent."""

    image: PIL.Image.Image
    boxes: list[list[PixelBox | None]]
    phrases: list[str]


def read_folder(folder: Path, num_frames: int, prompt: str, phrase: str | None = None) -> CustomInput:
    """Read and check a custom input folder.

    Args:
        num_frames: F; boxes are wanted for frames 0..F-1.
        prompt: the phrase of `bbox.txt`'s object where `phrase` is None, with a warning.
        phrase: what the object of `bbox.txt` is called.

    Raises:
        InputError: what is wrong, with file, line and fix.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; it should hold img.png and bbox.txt or objects.json")
    image = _read_image(folder)
    text, several = folder / "bbox.txt", folder / "objects.json"
    if text.is_file() == several.is_file():
        found = "both bbox.txt and objects.json" if text.is_file() else "neither bbox.txt nor objects.json"
        raise InputError(f"{folder}: {found}; give one of them")
    phrase = (phrase or "").strip() or None
    if several.is_file():
        if phrase is not None:
            raise InputError(f"{several}: names its objects itself; leave out --object, or use bbox.txt")
        objects = read_objects_json(several, num_frames, image.size)
    else:
        if phrase is None:
            logger.warning(f"{text}: no --object, so the object is called by the whole prompt: {prompt!r}")
        objects = [(phrase or prompt, read_bbox_txt(text, num_frames, image.size))]
    path = several if several.is_file() else text
    tracks = [make_track(keys, num_frames, image.size, f"{path} ({name})") for name, keys in objects]
    return CustomInput(image, [list(frame) for frame in zip(*tracks, strict=True)], [name for name, _ in objects])


def _read_image(folder: Path) -> PIL.Image.Image:
    found = sorted(path for path in folder.glob("img.*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or f"none of {', '.join('img' + s for s in IMAGE_SUFFIXES)}"
        raise InputError(f"{folder}: needs one image, found {names}")
    try:
        return read_image(found[0])
    except ValueError as error:
        raise InputError(str(error)) from None
