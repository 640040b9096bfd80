"""GLIGEN's grounding data: images with boxes and phrases, base64 in TSV files."""

import base64
import hashlib
import io
import json
import logging
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
import torch
from torch import Tensor
from tqdm import tqdm

from smcd.data.clips import Clip
from smcd.data.label_files import check_box, check_text, folder_of
from smcd.runtime.errors import InputError
from smcd.runtime.files import new_file, read_text
from smcd.runtime.media import read_frame

logger = logging.getLogger(__name__)

SETS = {"flickr": ("flickr", "flickr30k", "flickr_tsv"), "sbu": ("sbu", "sbu_tsv"), "gqa": ("gqa", "gqa_tsv")}
_SMALLEST = 0.01  # boxes of a smaller part of the image's area are dropped
_BEGINNING = 65536  # bytes of a file's first row that tell it from others
_AGAIN = "download the .tsv again"
_ANEW = "delete the .lineidx, which is then made anew, or download both files again"


class GligenRow(NamedTuple):
    """One image: its JPEG in base64, its caption, and N >= 0 boxes (xywh in pixels, float64) with their phrases."""

    image: str
    caption: str
    boxes: np.ndarray
    phrases: list[str]


class GligenTSV:
    """One of GLIGEN's sets as clips of a single frame, a `ClipSource`.

    Images are cropped to squares of `size` pixels at random; objects are sorted by area, the largest first.

    Args:
        path: the folder that holds `GLIGEN/GROUNDING`, or one of these two; see `set_places`.
        name: flickr, sbu or gqa.
        max_objects: N, filled up with absent objects.
        crop_ratio: the smallest side of a crop, in parts of the image's short side; 1 is the centered whole square.
        resize: "antialiased" (bilinear), or "published": a box filter.
        phrase_embeddings: gives embeddings of phrases (`phrases.PhraseEmbeddings`), or None.
        on_error: "error" raises an InputError that names a broken file; "skip" drops rows beyond the end of one.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        size: int = 256,
        max_objects: int = 30,
        crop_ratio: float = 0.9,
        resize: str = "antialiased",
        phrase_embeddings: Callable[[Sequence[str], str], Tensor] | None = None,
        on_error: str = "error",
    ):
        self.name = f"gligen/{name}"
        self.size, self.max_objects, self.crop_ratio = size, max_objects, crop_ratio
        self._filter = PIL.Image.Resampling.BILINEAR if resize == "antialiased" else PIL.Image.Resampling.BOX
        self._phrase_embeddings, self._on_error = phrase_embeddings, on_error
        self.folder = folder_of(Path(path), *set_places(name), holds="*.tsv")
        self.files = sorted(self.folder.glob("[!.]*.tsv"))
        check_files(self.files)
        self.dropped: dict[str, str] = {}
        self._without_lineidx: dict[Path, np.ndarray] = {}
        self._offsets = [self._read_offsets(file) for file in self.files]
        self._ends = np.cumsum([len(offsets) for offsets in self._offsets])

    def _read_offsets(self, file: Path) -> np.ndarray:
        if not file.with_suffix(".lineidx").exists():
            logger.warning(f"{file}: has no .lineidx, so all of it is read now; smcd prepare gligen writes a .lineidx")
            self._without_lineidx[file] = find_offsets(file)
            return self._without_lineidx[file]
        offsets = read_offsets(file)
        size = file.stat().st_size
        beyond = offsets >= size
        if beyond.any():
            message = f"{file}:{beyond.argmax() + 1}: the file ends at byte {size}, before this row; {_AGAIN}"
            if self._on_error != "skip":
                raise InputError(message)
            self.dropped |= {f"{file.stem}:{row + 1}": message for row in np.flatnonzero(beyond)}
            return offsets[~beyond]
        with file.open("rb") as tsv:
            tsv.seek(offsets[-1])
            tsv.readline()
            if tsv.tell() != size:
                raise InputError(f"{file.with_suffix('.lineidx')}:{len(offsets)}: {file.name} has more rows; {_ANEW}")
        return offsets

    def write_missing_lineidx(self) -> None:
        """Write the byte offsets that had to be found, beside their files."""
        for file, offsets in self._without_lineidx.items():
            with new_file(file.with_suffix(".lineidx")) as temporary:
                temporary.write_text("".join(f"{offset}\n" for offset in offsets))

    def __len__(self) -> int:
        return int(self._ends[-1])

    @cached_property
    def fingerprint(self) -> str:
        """Which rows there are, by where they begin in their files: their content is read once it is needed."""
        rows = (file.name.encode() + offsets.tobytes() for file, offsets in zip(self.files, self._offsets, strict=True))
        return hashlib.sha256(b"".join(rows)).hexdigest()

    def _place(self, index: int) -> tuple[Path, int, int]:
        """File, row in it and byte offset."""
        number = int(np.searchsorted(self._ends, index, side="right"))
        row = index - int(self._ends[number - 1]) if number else index
        return self.files[number], row, int(self._offsets[number][row])

    def check_rows(self) -> tuple[set[str], dict[str, str]]:
        """The phrases of all rows, and what is broken with the reason (an InputError, unless `on_error` is "skip")."""
        phrases: set[str] = set()
        broken = dict(self.dropped)
        for index in tqdm(range(len(self)), self.name, unit="row"):
            try:
                phrases.update(read_row(*self._place(index)).phrases)
            except InputError as error:
                if self._on_error != "skip":
                    raise
                broken[str(index + 1)] = str(error)
        return phrases, broken

    def clip(self, index: int, rng: np.random.Generator) -> Clip:
        file, number, offset = self._place(index)
        where = f"{file}:{number + 1}"
        row = read_row(file, number, offset)
        try:
            jpeg = io.BytesIO(base64.b64decode(row.image, validate=True))
        except ValueError as error:
            raise InputError(f"{where}: the image is not base64 ({error}); {_AGAIN}") from None
        image = read_frame(jpeg, name=where)
        side, left, top = self._crop(image.size, rng)
        pixels = image.resize((self.size, self.size), self._filter, (left, top, left + side, top + side))
        boxes, phrases = self._objects(row, side, left, top)
        there, name = np.ones((1, len(phrases)), dtype=np.float32), f"{self.name}/{file.stem}:{number + 1}"
        clip = Clip.padded(name, row.caption, phrases, boxes[None], there, self.max_objects)
        clip.frames = torch.from_numpy(np.asarray(pixels)[None].copy())
        if self._phrase_embeddings is not None:
            clip.phrase_embeddings = self._phrase_embeddings(clip.phrases, where)
        return clip

    def _crop(self, size: tuple[int, int], rng: np.random.Generator) -> tuple[float, float, float]:
        """Side, left and top of a square in pixels."""
        short = min(size)
        if self.crop_ratio >= 1:
            return short, (size[0] - short) / 2, (size[1] - short) / 2
        side = short * rng.uniform(self.crop_ratio, 1)
        return side, *(float(rng.uniform(0, length - side)) for length in size)  # type: ignore[return-value]

    def _objects(self, row: GligenRow, side: float, left: float, top: float) -> tuple[np.ndarray, list[str]]:
        """What the crop shows of the objects: boxes N 4 (xyxy in 0..1, float32), the largest first, with phrases."""
        corners = row.boxes[:, [0, 1, 0, 1]] + row.boxes * [0, 0, 1, 1]
        boxes = np.clip((corners - [left, top, left, top]) / side, 0, 1)
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
        order = [n for n in np.argsort(-areas, kind="stable") if areas[n] >= _SMALLEST]
        return boxes[order].astype(np.float32), [row.phrases[n] for n in order]


def set_places(name: str) -> list[str]:
    """Where the .tsv files of a set may lie: as documented here, in GLIGEN's own layout, or in a clone from the hub."""
    tops = ("GLIGEN/GROUNDING/", "GROUNDING/", "GLIGEN/", "")
    return [f"{top}{folder}{below}" for top in tops for folder in SETS[name] for below in ("", "/tsv")]


def check_files(files: Sequence[Path]) -> None:
    """Raise an InputError where two files begin with the same row, as shards and the file merged from them do.

    Also where a clone from the hub has no data yet.
    """
    seen: dict[bytes, Path] = {}
    for file in files:
        with file.open("rb") as tsv:
            row = tsv.readline(_BEGINNING)
        if row.startswith(b"version https://git-lfs"):
            raise InputError(f"{file}: is only a pointer of Git LFS; run git lfs pull in {file.parent}")
        if (other := seen.setdefault(row, file)) is not file:
            fix = "keep the shards or the file merged from them, and move the other away"
            raise InputError(f"{file}: begins with the same row as {other.name}, so rows would count twice; {fix}")


def find_offsets(tsv: Path) -> np.ndarray:
    """Byte offsets of the rows (int64), by reading the whole file. Raises an InputError if it has none."""
    offsets, position = [], 0
    with tsv.open("rb") as file:
        for line in file:
            if line.strip():
                offsets.append(position)
            position += len(line)
    if not offsets:
        raise InputError(f"{tsv}: is empty; {_AGAIN}")
    return np.array(offsets, dtype=np.int64)


def read_offsets(tsv: Path) -> np.ndarray:
    """Byte offsets of the rows (int64), from the .lineidx beside the file. Raises an InputError naming the line."""
    path = tsv.with_suffix(".lineidx")
    lines = read_text(path).split()
    try:
        offsets = np.array(lines, dtype=np.int64)
    except (ValueError, OverflowError):
        wrong = next((n for n, line in enumerate(lines) if not (line.isascii() and line.isdigit())), len(lines) - 1)
        raise InputError(f"{path}:{wrong + 1}: {lines[wrong][:40]!r} is not a byte offset; {_ANEW}") from None
    if not len(offsets):
        raise InputError(f"{path}: is empty; {_ANEW}")
    falling = np.flatnonzero(np.diff(offsets) <= 0)
    if offsets[0] != 0 or len(falling):
        line = int(falling[0]) + 2 if len(falling) else 1
        raise InputError(f"{path}:{line}: {offsets[line - 1]} is not above the offset before; {_ANEW}")
    return offsets


def read_row(tsv: Path, row: int, offset: int) -> GligenRow:
    """Row `row` (from 0) of a file, at its byte offset. Raises an InputError where it is broken."""
    where = f"{tsv}:{row + 1}"
    with tsv.open("rb") as file:
        file.seek(max(0, offset - 1))
        if offset and file.read(1) != b"\n":
            raise InputError(f"{where}: no row starts at byte {offset}, where the .lineidx says so; {_ANEW}")
        line = file.readline()
    try:
        content = json.loads(line.partition(b"\t")[2])
        image, caption, annotations = str(content["image"]), content["caption"], list(content["annos"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{where}: the row is broken or cut off ({error}); {_AGAIN}") from None
    caption = check_text(caption, f"{where}: the caption")
    boxes, phrases = [], []
    for number, item in enumerate(annotations):
        place = f"{where}: anno {number}"
        if not isinstance(item, dict):
            raise InputError(f"{place} is no JSON object")
        boxes.append(check_box(item.get("bbox"), place))
        phrases.append(phrase_of(caption, item.get("tokens_positive"), place))
    return GligenRow(image, caption, np.array(boxes, dtype=np.float64).reshape(-1, 4), phrases)


def phrase_of(caption: str, spans: Any, where: str) -> str:
    """The words of a caption that name an object: its character spans, joined by a space.

    What a span has past the end of the caption is cut off, as in GLIGEN. Raises an InputError if nothing is left.
    """
    try:
        proper = all(0 <= start < end for start, end in spans)
        phrase = " ".join(filter(None, (caption[start:end] for start, end in spans))).strip() if proper else ""
    except (TypeError, ValueError):
        phrase = ""
    if not phrase:
        raise InputError(f"{where}: tokens_positive is {spans!r}, which names nothing in the caption")
    return phrase
