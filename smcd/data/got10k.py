"""GOT-10k: one tracked object per sequence, 10 frames a second."""

import logging
import re
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image

from smcd.data.annotated import AnnotatedVideos
from smcd.data.clips import Video
from smcd.data.label_files import check_text, folder_of, read_captions, read_labels, read_numbers, xyxy
from smcd.runtime.errors import InputError, first_line
from smcd.runtime.files import read_text
from smcd.runtime.media import read_frame

logger = logging.getLogger(__name__)

_BROKEN = """
    1665 1849 1858 1867 1898 2446 2449 4419 5912 7610 7643 7645 7788 8628 8630 8721 8917 8925 8931 9027 9031 9032 9058
    9059 9065 9094 9102 9210 9211 9214 9274 9302 9320 9323"""
_UNKNOWN = "and it is not known in which of their pixels its box is"
_ABSENT = -1  # all of a box: the object is out of view
BROKEN = frozenset(map(int, _BROKEN.split()))  # sequences of train that the published training drops


class GOT10k(AnnotatedVideos):
    """A split of GOT-10k, a `VideoSource`. All labels are read and checked at the start.

    The prompt of a sequence is "A {object_class} that is {motion_class}. ", or its entry in
    `got10k_<split>_caption.json`. Where `absence.label` says so, the object is absent.

    Args:
        path: the folder that holds `got10k` (or `GOT-10k`, ...), or got10k itself.
        split: train or val (of test only the first boxes are public).
        min_frames, on_error: see `AnnotatedVideos`.
        captions: whether the file of captions is used.

    Raises an InputError naming the file and line where labels are missing or broken.
    """

    def __init__(
        self,
        path: Path,
        split: str = "train",
        min_frames: int = 8,
        on_error: str = "error",
        captions: bool = True,
    ):
        self.folder = folder_of(Path(path), *split_places(split))
        found = sorted(entry.name for entry in self.folder.iterdir() if entry.is_dir() and entry.name[0] not in "._")
        if not found:
            raise InputError(f"{self.folder}: holds no sequences; see docs/data.md")
        broken = [name for name in found if split == "train" and int(re.sub(r"\D", "", name[-6:]) or 0) in BROKEN]
        unused = dict.fromkeys(broken, "on the published list of broken sequences")
        file = self.folder.parent / f"got10k_{split}_caption.json"
        texts = read_captions(file, found) if captions else {}

        def read(name: str) -> Video:
            return read_sequence(self.folder / name, check_text(texts.get(name), f"{file}: the caption of {name}"))

        super().__init__(f"got10k/{split}", found, read, unused, min_frames, on_error)

    def images(self, index: int, frames: Sequence[int], size: tuple[int, int] | None) -> list[PIL.Image.Image]:
        folder = self.folder / self.names[index]
        files = [folder / frame_name(frame + 1) for frame in frames]
        first = frame_size(folder / frame_name(1))
        if other := next((file for file in files if frame_size(file) != first), None):
            raise InputError(f"{other}: has another size than the first frame, {_UNKNOWN}")
        return [read_frame(file, size) for file in files]


def split_places(split: str) -> tuple[str, str]:
    """Where a split may lie: in the folder that holds got10k, or in got10k itself."""
    return f"got10k/{split}", split


def read_sequence(folder: Path, caption: str = "") -> Video:
    """The annotation of one sequence. Raises an InputError naming the file and line.

    It ends before the first frame of another size: the toolkit does not say in which pixels such boxes are.
    """
    name, motion, size = read_meta(folder / "meta_info.ini")
    path = folder / "groundtruth.txt"
    boxes = read_numbers(path, 4)
    check_frames(folder, path, len(boxes))
    absence = folder / "absence.label"
    visible = read_labels(absence, len(boxes)) == 0 if absence.is_file() else np.ones(len(boxes), dtype=bool)
    negative = visible & (boxes[:, 2:] < 0).any(-1) & (boxes != _ABSENT).any(-1)
    if negative.any():
        line = int(negative.argmax())
        raise InputError(f"{path}:{line + 1}: {boxes[line].tolist()} is not a box x, y, w, h")
    corners = xyxy(boxes, *size)
    inside = (corners[:, 2:] > corners[:, :2]).all(-1)  # a flat box, or one outside the image, is an absent object
    mask = (visible & inside).astype(np.float32)[: count_alike(folder, len(boxes))]
    if not mask.any():
        raise InputError(f"{absence if absence.is_file() else path}: the object is absent in all frames")
    prompt, corners = caption or f"A {name} that is {motion}. ", corners[: len(mask)]
    return Video(folder.name, prompt, [name], corners[:, None] * mask[:, None, None], mask[:, None], str(path))


def count_alike(folder: Path, length: int) -> int:
    """How many of the first frames have one size, judged by the first and last frame; warns if not all of them."""
    first = frame_size(folder / frame_name(1))
    if frame_size(folder / frame_name(length)) == first:
        return length

    def differs(number: int) -> bool:
        return frame_size(folder / frame_name(number)) != first

    count = bisect_left(range(1, length + 1), True, key=differs)
    file = folder / frame_name(count + 1)
    (w, h), (width, height) = frame_size(file), first
    change = f"is {w} x {h}, the frames before are {width} x {height}, {_UNKNOWN}"
    logger.warning(f"{file}: {change}: only the first {count} of {length} frames are used")
    return count


def frame_name(number: int) -> str:
    """The file of a frame; the first has the number 1."""
    return f"{number:08d}.jpg"


def frame_size(file: Path) -> tuple[int, int]:
    """Width and height of a frame, from its header. Raises an InputError if it is no image."""
    try:
        with PIL.Image.open(file) as image:
            return image.size
    except Exception as error:  # a broken file can make Pillow's parsers raise anything
        complaint = f"cannot be read as an image ({first_line(error)}); unpack the dataset again"
        raise InputError(f"{file}: {complaint}") from None


def check_frames(folder: Path, labels: Path, length: int) -> None:
    """Raise an InputError where the frames are not 00000001.jpg to that of the last of `length` labels."""
    found = {entry.name for entry in folder.iterdir() if entry.name.endswith(".jpg") and entry.name[0] != "."}
    if len(found) > length:
        raise InputError(f"{labels}:{length}: ends after {length} lines, but there are {len(found)} frames")
    for number in range(1, length + 1):
        if (name := frame_name(number)) not in found:
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
    size = re.fullmatch(r"[^\d.-]*(\d{1,9})[^\d.-]+(\d{1,9})[^\d.-]*", values["resolution"])
    if size is None or min(int(size[1]), int(size[2])) < 1:
        raise InputError(f"{path}: resolution is {values['resolution'][:40]!r}, not (width, height)")
    return values["object_class"], values["motion_class"], (int(size[1]), int(size[2]))


def read_cover(folder: Path, length: int) -> np.ndarray | None:
    """`cover.label` of the first `length` frames (visible part of the object, 0..8), or None if there is none."""
    path = folder / "cover.label"
    return read_labels(path, len(read_numbers(folder / "groundtruth.txt", 4)))[:length] if path.is_file() else None
