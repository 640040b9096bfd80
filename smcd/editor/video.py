"""A video that the user opens to take boxes from: its frames as pictures, in a hidden folder of the project."""

import shutil
import time
from pathlib import Path
from typing import Any

import PIL.Image

from smcd.runtime.errors import InputError
from smcd.runtime.files import new_folder, read_json, write_json
from smcd.runtime.media import VideoFile

FOLDER = ".video"
_FACTS, _FRAMES = "video.json", "frames"
_MOST, _SIDE, _AT_ONCE = 600, 1280, 32  # frames; pixels of the longer side; frames that are held in memory
_FPS = 25.0  # where the file does not say


def extract(file: Path, name: str, folder: Path) -> dict[str, Any]:
    """Write the first frames of an uploaded video into `folder`, in place of an earlier video, and give the facts.

    Raises an InputError if it cannot be read; the earlier video stays then.
    """
    named = file.with_name(f"upload{Path(name).suffix.lower()[:10]}")
    file.rename(named)
    try:
        read = VideoFile(named)
        scale = min(1.0, _SIDE / max(read.width, read.height))
        size = (round(read.width * scale), round(read.height * scale))
        frames = range(min(read.length, _MOST))
        with new_folder(named.with_name("new")) as new:
            (new / _FRAMES).mkdir()
            for start in range(0, len(frames), _AT_ONCE):
                chunk = frames[start : start + _AT_ONCE]
                for number, image in zip(chunk, read.read(chunk), strict=True):
                    resized = image if image.size == size else image.resize(size, PIL.Image.Resampling.BILINEAR)
                    resized.save(new / _FRAMES / f"{number}.jpg", quality=95)
            facts = {"id": time.time_ns(), "name": name, "frames": len(frames), "fps": _fps(named)}
            write_json(new / _FACTS, facts | {"width": size[0], "height": size[1]})
    except InputError as error:
        raise InputError(str(error).replace(str(named), name)) from None
    shutil.rmtree(folder, ignore_errors=True)
    named.with_name("new").rename(folder)
    return read_facts(folder) or {}


def read_facts(folder: Path) -> dict[str, Any] | None:
    """What is known of the video: number of frames, frames a second, width and height; None if there is none."""
    return read_json(folder / _FACTS) if (folder / _FACTS).is_file() else None


def frame_file(folder: Path, number: int) -> Path:
    return folder / _FRAMES / f"{number}.jpg"


def _fps(path: Path) -> float:
    import imageio.v3 as imageio

    try:
        return float(imageio.immeta(path, plugin="FFMPEG")["fps"])
    except Exception:  # of a GIF, or a file without it
        return _FPS
