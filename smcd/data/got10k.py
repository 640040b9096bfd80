"""GOT-10k: one tracked object per sequence, 10 frames a second."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image

from smcd.data.annotated import AnnotatedVideos
from smcd.data.clips import Video
from smcd.data.label_files import folder_of, read_labels, read_numbers, xyxy
from smcd.runtime.errors import InputError
from smcd.runtime.files import read_json, read_text
from smcd.runtime.media import read_frame

_BROKEN = """
    1665 1849 1858 1867 1898 2446 2449 4419 5912 7610 7643 7645 7788 8628 8630 8721 8917 8925 8931 9027 9031 9032 9058
    9059 9065 9094 9102 9210 9211 9214 9274 9302 9320 9323"""
BROKEN = frozenset(map(int, _BROKEN.split()))  # sequences of train that the published training drops


class GOT10k(AnnotatedVideos):
    """A split of GOT-10k, a `VideoSource`. All labels are read and checked at the start.

    The prompt of a sequence is its entry in `got10k_<split>_caption.json`, if there is one, otherwise
    "A {object_class} that is {motion_class}. ". Where `absence.label` says so, the object is absent.

    Args:
        path: the folder that holds `got10k` (or `GOT-10k`, ...), or got10k itself.
        split: train or val (of test only the first boxes are public).
        min_frames, on_error: see `AnnotatedVideos`.

    Raises an InputError naming the file and line where labels are missing or broken.
    """

    def __init__(self, path: Path, split: str = "train", min_frames: int = 8, on_error: str = "error"):
        self.folder = folder_of(Path(path), *split_places(split))
        found = sorted(entry.name for entry in self.folder.iterdir() if entry.is_dir() and entry.name[0] not in "._")
        if not found:
            raise InputError(f"{self.folder}: holds no sequences; see docs/data.md")
        broken = [name for name in found if split == "train" and int(re.sub(r"\D", "", name[-6:]) or 0) in BROKEN]
        unused = dict.fromkeys(broken, "on the published list of broken sequences")
        path_of_captions = self.folder.parent / f"got10k_{split}_caption.json"
        captions = read_json(path_of_captions) if path_of_captions.is_file() else {}

        def read(name: str) -> Video:
            return read_sequence(self.folder / name, captions.get(name))

        super().__init__(f"got10k/{split}", found, read, unused, min_frames, on_error)

    def images(self, index: int, frames: Sequence[int], size: tuple[int, int] | None) -> list[PIL.Image.Image]:
        folder = self.folder / self.names[index]
        return [read_frame(folder / f"{frame + 1:08d}.jpg", size) for frame in frames]


def split_places(split: str) -> tuple[str, str]:
    """Where a split may lie: in the folder that holds got10k, or in got10k itself."""
    return f"got10k/{split}", split


def read_sequence(folder: Path, caption: str | None = None) -> Video:
    """The annotation of one sequence. Raises an InputError naming the file and line."""
    name, motion, size = read_meta(folder / "meta_info.ini")
    path = folder / "groundtruth.txt"
    boxes = read_numbers(path, 4)
    check_frames(folder, path, len(boxes))
    absence = folder / "absence.label"
    visible = read_labels(absence, len(boxes)) == 0 if absence.is_file() else np.ones(len(boxes), dtype=bool)
    corners = xyxy(boxes, *size)
    inside = (corners[:, 2:] > corners[:, :2]).all(-1)  # a flat box, or one outside the image, is an absent object
    mask = (visible & inside).astype(np.float32)
    if not mask.any():
        raise InputError(f"{absence if absence.is_file() else path}: the object is absent in all frames")
    prompt = caption or f"A {name} that is {motion}. "
    return Video(folder.name, prompt, [name], corners[:, None] * mask[:, None, None], mask[:, None], str(path))


def check_frames(folder: Path, labels: Path, length: int) -> None:
    """Raise an InputError where the frames are not 00000001.jpg to that of the last of `length` labels."""
    found = {entry.name for entry in folder.iterdir() if entry.name.endswith(".jpg") and entry.name[0] != "."}
    if len(found) > length:
        raise InputError(f"{labels}:{length}: ends after {length} lines, but there are {len(found)} frames")
    for number in range(1, length + 1):
        if (name := f"{number:08d}.jpg") not in found:
            raise InputError(f"{folder / name}: is missing, and {labels.name} has {length} lines")


def read_meta(path: Path) -> tuple[str, str, tuple[int, int]]:
    """Object class, motion class and size (width, height in pixels) from `meta_info.ini`.

    Raises an InputError if a key is missing, or the resolution is not a size.
    """
    # not with configparser: a url may hold a %
    pairs = (line.partition(":") for line in read_text(path).splitlines())
    values = {key.strip(): value.strip() for key, _, value in pairs}
    for key in ("object_class", "motion_class", "resolution"):
        if not values.get(key):
            raise InputError(f"{path}: has no line {key}: ...")
    size = [int(side) for side in re.findall(r"\d+", values["resolution"])]
    if len(size) != 2 or min(size) < 1:
        raise InputError(f"{path}: resolution is {values['resolution']!r}, not (width, height)")
    return values["object_class"], values["motion_class"], (size[0], size[1])


def read_cover(folder: Path, length: int) -> np.ndarray | None:
    """`cover.label` of a sequence (visible part of the object, 0..8; L), or None where there is none."""
    path = folder / "cover.label"
    return read_labels(path, length) if path.is_file() else None
