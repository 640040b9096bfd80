"""A user's folder: `img.*` with `bbox.txt` (one object) or `objects.json` (several), boxes in the image's pixels."""

import logging
from pathlib import Path
from typing import NamedTuple

import PIL.Image

from smcd.data.key_frames import Keyed, PixelBox, make_track, parse_objects, read_bbox_txt
from smcd.runtime.errors import InputError
from smcd.runtime.files import read_json
from smcd.runtime.media import IMAGE_SUFFIXES, images_in, read_image

logger = logging.getLogger(__name__)


class CustomInput(NamedTuple):
    """What the user gave."""

    image: PIL.Image.Image
    boxes: list[list[PixelBox | None]]  # F lists of N boxes, xyxy in 0..1, None where the object is absent
    phrases: list[str]


def read_folder(folder: Path, num_frames: int, prompt: str, phrase: str | None = None) -> CustomInput:
    """Read and check a custom input folder with boxes for `num_frames` frames.

    `phrase` is what the object of `bbox.txt` is called; without it, it is the prompt, with a warning. An InputError
    names file, line and fix of what is missing or wrong.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; it should hold img.png and bbox.txt or objects.json")
    image = read_image(_find_image(folder))
    paths = [path for path in (folder / "bbox.txt", folder / "objects.json") if path.is_file()]
    if len(paths) != 1:
        found = "both bbox.txt and objects.json" if paths else "neither bbox.txt nor objects.json"
        raise InputError(f"{folder}: {found}; give one of them")
    path = paths[0]
    phrase = (phrase or "").strip()
    if path.name == "objects.json":
        if phrase:
            raise InputError(f"{path}: names its objects itself; leave out --object, or use bbox.txt")
        objects = parse_objects(read_json(path, object), num_frames, image.size, str(path))
    else:
        if not phrase:
            logger.warning(f"{path}: no --object, so the object is called by the whole prompt: {prompt!r}")
        objects = [Keyed(phrase or prompt, read_bbox_txt(path, num_frames, image.size), {})]
    tracks = [make_track(keys, num_frames, image.size, f"{path} ({name})", easing) for name, keys, easing in objects]
    phrases = [each.phrase for each in objects]
    return CustomInput(image, [list(frame) for frame in zip(*tracks, strict=True)], phrases)


def _find_image(folder: Path) -> Path:
    """`img.png`, in capitals or another format, or else the only image of the folder."""
    images = images_in(folder)
    chosen = [path for path in images if path.stem.lower() == "img"] or images
    if len(chosen) != 1:
        names = [path.name for path in chosen or sorted(folder.iterdir())]
        shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        none = "" if chosen else f"none of img{', img'.join(IMAGE_SUFFIXES)} among "
        raise InputError(f"{folder}: needs one image, found {none}{shown or 'no files'}")
    if chosen[0].stem.lower() != "img":
        logger.warning(f"{folder}: there is no img.png, so the only image, {chosen[0].name}, is animated")
    return chosen[0]
