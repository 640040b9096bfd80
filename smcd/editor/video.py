"""A video that the user opens to take boxes from: its frames as pictures, in a hidden folder of the project."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import PIL.Image

from smcd.editor.boxes import check_objects
from smcd.runtime.errors import InputError
from smcd.runtime.files import new_folder, read_json, write_json
from smcd.runtime.video_file import VideoFile

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


@dataclass(frozen=True)
class TrackTask:
    """Objects to follow through the frames of a folder.

    Attributes:
        boxes: in the first frame, in its pixels, by name; None where the detector is to find the object.
        span: first and last frame, both included.
        num_frames: of the project, over which the motion is spread.
        tolerance: pixels that the key frames may differ from the path.
        size: width and height of the image that the boxes are for; None if that is to be the first frame.
        inside: a folder where a copy of the first frame can lie.
    """

    frames: Path
    boxes: dict[str, list[float] | None]
    span: tuple[int, int]
    num_frames: int
    tolerance: float
    size: tuple[int, int] | None
    inside: Path


def track_task(
    content: dict[str, Any], facts: dict[str, Any], video: Path, num_frames: int, size: tuple[int, int] | None
) -> TrackTask:
    """The task that the page's JSON asks for. Raises an InputError if it does not fit the video."""
    boxes, end = content.get("boxes"), facts["frames"] - 1
    first, last, tolerance = content.get("first", 0), content.get("last", end), content.get("tolerance", 2)
    if type(first) is not int or type(last) is not int or not 0 <= first <= last <= end:
        raise InputError(f"first and last frame should be from 0 to {end}")
    if type(tolerance) not in (int, float) or not 0 <= tolerance <= 1000:
        raise InputError("the tolerance should be from 0 to 1000 pixels")
    if not isinstance(boxes, list) or not all(isinstance(item, dict) for item in boxes):
        raise InputError("boxes should be a list of objects with a name and a box")
    objects = check_objects([{"phrase": item.get("phrase"), "boxes": {"0": item.get("box")}} for item in boxes])
    if not objects or not all(item["phrase"].strip() for item in objects):
        raise InputError("draw a box in the video and name it, or name what is to be found")
    return TrackTask(
        video / _FRAMES,
        {item["phrase"]: item["boxes"]["0"] for item in objects},
        (first, last),
        num_frames,
        float(tolerance),
        None if content.get("use_first_frame") else size,
        video,
    )


def frame_file(folder: Path, number: int) -> Path:
    return folder / _FRAMES / f"{number}.jpg"


def _fps(path: Path) -> float:
    import imageio.v3 as imageio

    try:
        return float(imageio.immeta(path, plugin="FFMPEG")["fps"])
    except Exception:  # of a GIF, or a file without it
        return _FPS
