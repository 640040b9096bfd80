"""Your own videos: files or folders of frames, with one JSON of captions, phrases and boxes."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from smcd.data.annotated import AnnotatedVideos
from smcd.data.clips import Video
from smcd.data.key_frames import make_track, parse_objects
from smcd.data.label_files import check_text
from smcd.data.youtube_vis import caption_of
from smcd.runtime.errors import InputError
from smcd.runtime.files import read_json
from smcd.runtime.media import IMAGE_SUFFIXES, images_in, read_frame
from smcd.runtime.names import check_inside
from smcd.runtime.video_file import VideoFile

ANNOTATIONS = "annotations.json"
_BYTES = 65536


class VideoFolder(AnnotatedVideos):
    """Videos with `annotations.json` beside them, a `VideoSource`:

        {"dog.mp4": {"caption": "A dog runs.", "objects": [{"phrase": "dog", "boxes": {"0": [10, 80, 90, 160]}}]},
         "walk":    {"objects": [...]}}

    A name is that of a file (mp4, mov, webm, mkv, avi, gif), or of a folder of frames (in the order of the numbers in
    their names). Boxes are x1, y1, x2, y2 in pixels at key frames, as in `objects.json` of custom inputs. Without a
    caption the prompt is made of the phrases. With `every_frame`, all frames are read to find damaged ones.

    Raises an InputError if something is missing or broken; the message names the file, the video and the object.
    """

    def __init__(self, path: Path, min_frames: int = 8, on_error: str = "error", every_frame: bool = False):
        folder = Path(path).resolve()
        content = read_json(folder / ANNOTATIONS)
        if not content:
            raise InputError(f'{folder / ANNOTATIONS}: should hold {{"dog.mp4": {{"objects": [...]}}}}')
        self._frames: dict[str, VideoFile | list[Path]] = {}

        def read(name: str) -> Video:
            video, self._frames[name] = read_video(folder, name, content[name], every_frame)
            return video

        place = hashlib.sha1(str(folder).encode()).hexdigest()[:6]
        name = f"videos/{folder.name}-{place}"  # folders of one name have caches of their own
        super().__init__(name, sorted(content), read, {}, min_frames, on_error)

    def images(self, index: int, frames: Sequence[int], size: tuple[int, int] | None) -> list[PIL.Image.Image]:
        return read_images(self._frames[self.names[index]], frames, size)


def read_video(folder: Path, name: str, content: Any, every_frame: bool) -> tuple[Video, VideoFile | list[Path]]:
    """The annotation of one video, and the file or the frames. Raises an InputError where they are broken."""
    check_inside(name, str(folder / ANNOTATIONS))
    where = f"{folder / ANNOTATIONS}: {name}"
    if not isinstance(content, dict) or "objects" not in content:
        raise InputError(f'{where}: needs "objects"')
    if unknown := content.keys() - {"caption", "objects"}:
        raise InputError(f'{where}: unknown key "{min(unknown)}"; a video has "caption" and "objects"')
    frames, length, size = open_video(folder / name, every_frame)
    objects = parse_objects(content["objects"], length, size, where)
    tracks = [make_track(keys, length, size, f"{where} ({phrase})", easing) for phrase, keys, easing in objects]
    phrases = [phrase for phrase, _, _ in objects]
    boxes = np.array([[box or (0, 0, 0, 0) for box in track] for track in tracks], dtype=np.float32).swapaxes(0, 1)
    box_mask = np.array([[box is not None for box in track] for track in tracks], dtype=np.float32).T
    caption = check_text(content.get("caption"), f"{where}: the caption") or caption_of(phrases)
    return Video(name, caption, phrases, boxes, box_mask, where, _fingerprint(frames)), frames


def open_video(path: Path, every_frame: bool = False) -> tuple[VideoFile | list[Path], int, tuple[int, int]]:
    """A video file, or the frames of a folder in their order; their number, and their width and height.

    Raises an InputError if there are none, or they cannot be read; with `every_frame` all of them are looked at.
    """
    if not path.is_dir():
        video = VideoFile(path, every_frame)
        return video, video.length, (video.width, video.height)
    frames = sorted(images_in(path), key=lambda file: ([*map(int, re.findall(r"\d+", file.stem))], file.name))
    if not frames:
        raise InputError(f"{path}: holds no frames ({', '.join(IMAGE_SUFFIXES)})")
    size = read_frame(frames[0]).size
    for file in frames if every_frame else []:
        if (other := read_frame(file).size) != size:
            raise InputError(f"{file}: {other[0]} x {other[1]} pixels; the first frame has {size[0]} x {size[1]}")
    return frames, len(frames), size


def read_images(
    files: VideoFile | list[Path], frames: Sequence[int], size: tuple[int, int] | None = None
) -> list[PIL.Image.Image]:
    """These frames of what `open_video` gives, in RGB; JPEGs that will be squashed to `size` are decoded smaller."""
    if isinstance(files, VideoFile):
        return files.read(frames)
    return [read_frame(files[frame], size) for frame in frames]


def _fingerprint(frames: VideoFile | list[Path]) -> str:
    """Changes when a video is replaced by another one: size and first and last bytes, or the sizes of all frames."""
    if isinstance(frames, list):
        return hashlib.sha1(str([file.stat().st_size for file in frames]).encode()).hexdigest()[:16]
    with frames.path.open("rb") as file:
        first, size = file.read(_BYTES), frames.path.stat().st_size
        file.seek(max(0, size - _BYTES))
        # "shown": caches from before frames were numbered as players show them do not fit
        return hashlib.sha1(f"shown {size}".encode() + first + file.read()).hexdigest()[:16]
