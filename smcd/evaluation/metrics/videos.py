"""Folders of anyone's videos: where each clip's frames lie, and reading them.

A folder holds a folder or file per clip. Frames of clip `a` are looked for, in this order, as `a/pred_img/*.png` (for
the truth `gt_img`: the published layout), as images directly in `a/`, as `a/pred_video.mp4` or `a.mp4`, and at last as
GIF, whose 256 colors change the numbers.
"""

import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np

from smcd.runtime.errors import InputError, first_line
from smcd.runtime.media import read_image

logger = logging.getLogger(__name__)
_IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
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
            InputError: files are unreadable, frames have different sizes, or count and size are not those of `like`.
        """
        source = self.sources[sequence]
        frames = _read_folder(source) if source.is_dir() else _read_video(source)
        if like is not None and frames.shape[:3] != like:
            (f, h, w), (count, height, width) = frames.shape[:3], like
            raise InputError(f"{source}: {f} frames of {w} x {h} pixels; it should be {count} of {width} x {height}")
        return frames


def find_videos(root: Path, kind: str, sequences: Iterable[str] | None = None) -> Videos:
    """The clips of a folder (of `sequences`, if given) of the kind "pred" or "gt". InputError if there is no folder."""
    if not root.is_dir():
        raise InputError(f"{root}: there is no such folder")
    if sequences is None:
        entries = [path for path in root.iterdir() if not path.name.startswith(".")]
        sequences = {path.name if path.is_dir() else path.stem for path in entries}
    found = {name: _source(root, name, kind) for name in sorted(sequences)}
    videos = Videos(root, {name: source for name, source in found.items() if source is not None})
    if gifs := videos.formats().get("gif"):
        logger.warning(f"{root}: {gifs} clips are GIFs, whose 256 colors change the numbers; give PNG or mp4")
    return videos


def _source(root: Path, name: str, kind: str) -> Path | None:
    folders = [root / name / f"{kind}_img", root / name]
    files = [path for end in ("mp4", "gif") for path in (root / name / f"{kind}_video.{end}", root / f"{name}.{end}")]
    for candidate in (*folders, *files):
        if candidate.is_file() or (candidate.is_dir() and _image_files(candidate)):
            return candidate
    return None


def seeds_of(root: Path) -> dict[int | None, Path]:
    """The folders `seed_33`, `seed_34`, ... below a folder of predictions; without any, the folder itself, for None."""
    folders = [path for path in root.glob("seed_*") if path.is_dir()]
    found = {int(match[1]): path for path in folders if (match := _SEED.fullmatch(path.name))}
    return dict(sorted(found.items())) or {None: root}


def _image_files(folder: Path) -> list[Path]:
    """Images of a folder in the order of the numbers that end their names."""
    files = [path for path in folder.iterdir() if path.suffix.lower() in _IMAGES and not path.name.startswith(".")]
    return sorted(files, key=lambda path: (int((re.findall(r"\d+", path.stem) or [-1])[-1]), path.name))


def _read_folder(folder: Path) -> np.ndarray:
    frames = [np.asarray(read_image(path)) for path in _image_files(folder)]
    if len(sizes := {frame.shape for frame in frames}) > 1:
        shown = ", ".join(f"{width} x {height}" for height, width, _ in sorted(sizes))
        raise InputError(f"{folder}: frames of different sizes ({shown})")
    return np.stack(frames)


def _read_video(path: Path) -> np.ndarray:
    options: dict[str, Any] = {"plugin": "FFMPEG"} if path.suffix == ".mp4" else {"plugin": "pillow", "mode": "RGB"}
    try:
        return np.stack(list(imageio.imiter(path, **options)))
    except Exception as error:  # a broken file can make the decoders raise anything
        raise InputError(f"{path}: cannot be read as a video ({first_line(error)})") from None


def require_all(videos: Videos, sequences: Sequence[str], allow_partial: bool) -> list[str]:
    """The sequences that are there. Raises an InputError if some are missing without `allow_partial`, or all are."""
    present = [name for name in sequences if name in videos.sources]
    missing = [name for name in sequences if name not in videos.sources]
    shown = ", ".join(missing[:10]) + (f" and {len(missing) - 10} more" if len(missing) > 10 else "")
    if not present:
        raise InputError(f"{videos.root}: none of the {len(sequences)} clips is there (looked for {shown})")
    if missing and not allow_partial:
        lack = f"{len(missing)} of {len(sequences)} clips are missing: {shown}"
        raise InputError(f"{videos.root}: {lack}; make them, or give --allow_partial to score the others")
    if missing:
        logger.warning(f"{videos.root}: scoring {len(present)} of {len(sequences)} clips; missing: {shown}")
    return present
