"""Folders of anyone's videos: where each clip's frames lie, and reading them.

A folder holds a folder or file per clip. Frames of clip `a` are looked for, in this order, as `a/pred_img/*.png` (for
the truth `gt_img`: the published layout), as images directly in `a/`, as `a/pred_video.mp4` or `a.mp4` (mov, webm, mkv,
avi), and at last as GIF, whose 256 colors change the numbers.
"""

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image

from smcd.runtime.errors import InputError
from smcd.runtime.media import images_in, read_image
from smcd.runtime.video_file import VIDEO_SUFFIXES, VideoFile

logger = logging.getLogger(__name__)
_SEED = re.compile(r"seed_(\d+)")


@dataclass(frozen=True)
class Videos:
    """Clips on disk: sequence -> folder of images, or video file."""

    root: Path
    sources: dict[str, Path]

    def formats(self) -> dict[str, int]:
        """How many clips are png, mp4, gif, ..."""
        files = [source if source.is_file() else _image_files(source)[0] for source in self.sources.values()]
        return dict(sorted(Counter(file.suffix[1:].lower() for file in files).items()))

    def read(self, sequence: str, like: tuple[int, int, int] | None = None) -> np.ndarray:
        """Frames F H W 3 (uint8) of a clip. `like` says how many it must have, of which height and width.

        Raises:
            InputError: files are unreadable, frames have different sizes, or count and size are not those of `like`,
                which is found before all are read.
        """
        source = self.sources[sequence]
        video = _Images(source) if source.is_dir() else VideoFile(source)
        found = video.length, video.height, video.width
        if like is not None and found != like:
            (f, h, w), (count, height, width) = found, like
            raise InputError(f"{source}: {f} frames of {w} x {h} pixels; it should be {count} of {width} x {height}")
        return np.stack([np.asarray(image) for image in video.read(range(video.length))])


class _Images:
    """A folder of frames, read like a `VideoFile`."""

    def __init__(self, folder: Path):
        self._folder, self._files = folder, _image_files(folder)
        self.length, (self.width, self.height) = len(self._files), read_image(self._files[0]).size

    def read(self, frames: Sequence[int]) -> list[PIL.Image.Image]:
        images = []
        for frame in frames:
            images.append(read_image(self._files[frame]))
            if len(sizes := {images[-1].size, (self.width, self.height)}) > 1:
                shown = ", ".join(f"{width} x {height}" for width, height in sorted(sizes))
                raise InputError(f"{self._folder}: frames of different sizes ({shown})")
        return images


def find_videos(root: Path, kind: str, sequences: Iterable[str] | None = None) -> Videos:
    """The clips of a folder (of `sequences`, if given) of the kind "pred" or "gt". InputError if there is no folder."""
    if not root.is_dir():
        raise InputError(f"{root}: there is no such folder")
    if sequences is None:
        entries = [path for path in root.iterdir() if not path.name.startswith(".")]
        sequences = {path.name if path.is_dir() else path.stem for path in entries}
    files = _video_files(root)
    found = {name: _source(root / name, kind, files.get(name, [])) for name in sorted(sequences)}
    videos = Videos(root, {name: source for name, source in found.items() if source is not None})
    if gifs := videos.formats().get("gif"):
        logger.warning(f"{root}: {gifs} clips are GIFs, whose 256 colors change the numbers; give PNG or mp4")
    return videos


def _source(folder: Path, kind: str, beside: list[Path]) -> Path | None:
    """The frames of a clip: in its folder, or among the video files of its name `beside` the folder."""
    for images in (folder / f"{kind}_img", folder):
        if images.is_dir() and _image_files(images):
            return images
    files = [*_video_files(folder).get(f"{kind}_video", []), *beside]
    return min(files, key=lambda file: VIDEO_SUFFIXES.index(file.suffix.lower()), default=None)


def _video_files(folder: Path) -> dict[str, list[Path]]:
    """Video files of a folder by their names without suffix."""
    found = defaultdict(list)
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file():
            found[path.stem].append(path)
    return found


def seeds_of(root: Path) -> dict[int | None, Path]:
    """The folders `seed_33`, `seed_34`, ... below a folder of predictions; without any, the folder itself, for None."""
    folders = [path for path in root.glob("seed_*") if path.is_dir()]
    found = {int(match[1]): path for path in folders if (match := _SEED.fullmatch(path.name))}
    return dict(sorted(found.items())) or {None: root}


def _image_files(folder: Path) -> list[Path]:
    """Images of a folder in the order of the numbers that end their names."""
    return sorted(images_in(folder), key=lambda path: (int((re.findall(r"\d+", path.stem) or [-1])[-1]), path.name))


def require_all(videos: Videos, sequences: Sequence[str], allow_partial: bool) -> list[str]:
    """The sequences that are there. Raises an InputError if some are missing without `allow_partial`, or all are."""
    present = [name for name in sequences if name in videos.sources]
    missing = [name for name in sequences if name not in videos.sources]
    shown = ", ".join(missing[:10]) + (f" and {len(missing) - 10} more" if len(missing) > 10 else "")
    if not present:
        lack = f"none of the {len(sequences)} clips is there (looked for {shown})"
        raise InputError(f"{videos.root}: {lack}; {_what_lies_in(videos.root, missing[0])}")
    if missing and not allow_partial:
        lack = f"{len(missing)} of {len(sequences)} clips are missing: {shown}"
        fix = "make them, or give --allow_partial to score the others"
        raise InputError(f"{videos.root}: {lack}; {fix}; {_what_lies_in(videos.root, missing[0])}")
    if missing:
        logger.warning(f"{videos.root}: scoring {len(present)} of {len(sequences)} clips; missing: {shown}")
    return present


def _what_lies_in(root: Path, sequence: str) -> str:
    """What is there instead of a missing clip."""
    folder = root / sequence if (root / sequence).is_dir() else root
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return f"{folder} holds {shown or 'nothing'}, and frames are images or {', '.join(VIDEO_SUFFIXES)}"
