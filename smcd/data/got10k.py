"""GOT-10k: one tracked object per sequence, 10 frames a second."""

import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image
from tqdm import tqdm

from smcd.data.clips import Video
from smcd.data.label_files import folder_of, read_json, read_numbers, read_text, xyxy
from smcd.runtime.errors import InputError
from smcd.runtime.media import read_frame

_BROKEN = """
    1665 1849 1858 1867 1898 2446 2449 4419 5912 7610 7643 7645 7788 8628 8630 8721 8917 8925 8931 9027 9031 9032 9058
    9059 9065 9094 9102 9210 9211 9214 9274 9302 9320 9323"""
BROKEN = frozenset(map(int, _BROKEN.split()))  # sequences of train that the published training drops
_MANY = 500  # sequences: reading their labels is worth a progress bar


class GOT10k:
    """A split of GOT-10k, a `VideoSource`. All labels are read and checked at the start.

    The prompt of a sequence is its entry in `got10k_<split>_caption.json`, where there is one, otherwise
    "A {object_class} that is {motion_class}. ". Where `absence.label` says so, the object is absent.

    Args:
        path: the folder that holds `got10k` or `got-10k`.
        split: train or val (of test only the first boxes are public).
        min_frames: shorter sequences are dropped.
        on_error: "error", or "skip": broken sequences are dropped.

    Raises:
        InputError: naming the file and line that is missing or broken.
    """

    def __init__(self, path: Path, split: str = "train", min_frames: int = 8, on_error: str = "error"):
        self.name = f"got10k/{split}"
        self.root = folder_of(Path(path), "got10k", "got-10k")
        self.folder = folder_of(self.root, split)
        captions = self.root / f"got10k_{split}_caption.json"
        self._captions = read_json(captions) if captions.is_file() else {}
        self.dropped: dict[str, str] = {}
        self._videos: dict[str, Video] = {}
        found = sorted(entry.name for entry in self.folder.iterdir() if entry.is_dir() and entry.name[0] not in "._")
        if not found:
            raise InputError(f"{self.folder}: holds no sequences; see docs/data.md")
        for name, video in self._read_all(found):
            if split == "train" and int(re.sub(r"\D", "", name[-6:]) or 0) in BROKEN:
                self.dropped[name] = "on the published list of broken sequences"
            elif isinstance(video, InputError):
                if on_error != "skip":
                    raise video
                self.dropped[name] = str(video)
            elif len(video) < min_frames:
                self.dropped[name] = f"{len(video)} frames, {min_frames} are needed"
            else:
                self._videos[name] = video
        self.names = list(self._videos)

    def video(self, index: int) -> Video:
        return self._videos[self.names[index]]

    def images(self, index: int, frames: Sequence[int], size: tuple[int, int] | None) -> list[PIL.Image.Image]:
        folder = self.folder / self.names[index]
        return [read_frame(folder / f"{frame + 1:08d}.jpg", size) for frame in frames]

    def _read_all(self, names: list[str]) -> Iterable[tuple[str, Video | InputError]]:
        with ThreadPoolExecutor(16) as pool:  # many small files: mostly waiting
            found = pool.map(self._read, names)
            yield from zip(names, tqdm(found, self.name, len(names), disable=len(names) < _MANY), strict=True)

    def _read(self, name: str) -> Video | InputError:
        try:
            return read_sequence(self.folder / name, self._captions.get(name))
        except InputError as error:
            return error


def read_sequence(folder: Path, caption: str | None = None) -> Video:
    """The annotation of one sequence. Raises an InputError naming the file and line."""
    meta = read_meta(folder / "meta_info.ini")
    path = folder / "groundtruth.txt"
    boxes = read_numbers(path, 4)
    check_frames(folder, path, len(boxes))
    absence = folder / "absence.label"
    visible = read_labels(absence, len(boxes)) == 0 if absence.is_file() else np.ones(len(boxes), dtype=bool)
    corners = xyxy(boxes, *meta.size)
    inside = (corners[:, 2:] > corners[:, :2]).all(-1)  # a flat box, or one outside the image, is an absent object
    mask = (visible & inside).astype(np.float32)
    if not mask.any():
        raise InputError(f"{absence if absence.is_file() else path}: the object is absent in all frames")
    prompt = caption or f"A {meta.object_class} that is {meta.motion_class}. "
    return Video(
        folder.name, prompt, [meta.object_class], corners[:, None] * mask[:, None, None], mask[:, None], str(path)
    )


def check_frames(folder: Path, labels: Path, length: int) -> None:
    """Raise an InputError where the frames are not 00000001.jpg to that of the last of `length` labels."""
    found = {entry.name for entry in folder.iterdir() if entry.name.endswith(".jpg") and entry.name[0] != "."}
    wanted = [f"{number:08d}.jpg" for number in range(1, max(length, len(found)) + 1)]
    missing = [name for name in wanted if name not in found]
    if len(found) > length:
        raise InputError(f"{labels}:{length}: ends after {length} lines, but there are {len(found)} frames")
    if missing:
        raise InputError(f"{folder / missing[0]}: is missing, and {labels.name} has {length} lines")


@dataclass(frozen=True)
class Meta:
    """`meta_info.ini` of a sequence; `size` is width and height in pixels."""

    object_class: str
    motion_class: str
    size: tuple[int, int]


def read_meta(path: Path) -> Meta:
    """Raises an InputError where a key is missing or the resolution is no size.

    Not read by configparser: a url may hold a %.
    """
    pairs = (line.partition(":") for line in read_text(path).splitlines())
    values = {key.strip(): value.strip() for key, _, value in pairs}
    for key in ("object_class", "motion_class", "resolution"):
        if not values.get(key):
            raise InputError(f"{path}: has no line {key}: ...")
    size = [int(side) for side in re.findall(r"\d+", values["resolution"])]
    if len(size) != 2 or min(size) < 1:
        raise InputError(f"{path}: resolution is {values['resolution']!r}, not (width, height)")
    return Meta(values["object_class"], values["motion_class"], (size[0], size[1]))


def read_cover(folder: Path, length: int) -> np.ndarray | None:
    """`cover.label` of a sequence (visible part of the object, 0..8; L), or None where there is none."""
    path = folder / "cover.label"
    return read_labels(path, length) if path.is_file() else None


def read_labels(path: Path, length: int) -> np.ndarray:
    """An integer for each of `length` frames. Raises an InputError naming the line."""
    values = read_numbers(path, 1)[:, 0].astype(int)
    if len(values) != length:
        raise InputError(f"{path}:{len(values)}: ends after {len(values)} lines, but there are {length} frames")
    return values
