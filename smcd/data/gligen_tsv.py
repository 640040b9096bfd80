"""GLIGEN's grounding data: images with boxes and phrases, base64 in TSV files."""

import base64
import hashlib
import io
import json
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
from smcd.data.label_files import check_box, folder_of
from smcd.runtime.errors import InputError
from smcd.runtime.files import read_text
from smcd.runtime.media import read_frame

SETS = ("flickr", "sbu", "gqa")
_SMALLEST = 0.01  # boxes of a smaller part of the image's area are dropped
_ANEW = "download the .tsv and its .lineidx again"


class GligenRow(NamedTuple):
    """One image: its JPEG in base64, its caption, and N boxes (xywh in pixels, float64) with their phrases."""

    image: str
    caption: str
    boxes: np.ndarray
    phrases: list[str]


class GligenTSV:
    """One of GLIGEN's sets as clips of a single frame, a `ClipSource`.

    Images are cropped to squares of `size` pixels at random; objects are sorted by area, the largest first.

    Args:
        path: the folder that holds `GLIGEN/GROUNDING`, or GROUNDING itself.
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
        self.folder = folder_of(Path(path), f"GLIGEN/GROUNDING/{name}", f"GROUNDING/{name}", name)
        self.files = sorted(self.folder.glob("*.tsv"))
        if not self.files:
            raise InputError(f"{self.folder}: holds no .tsv files; see docs/data.md")
        self.dropped: dict[str, str] = {}
        self._offsets = [self._read_offsets(file) for file in self.files]
        self._ends = np.cumsum([len(offsets) for offsets in self._offsets])

    def _read_offsets(self, file: Path) -> np.ndarray:
        offsets = read_offsets(file)
        size = file.stat().st_size
        beyond = offsets >= size
        if beyond.any():
            message = f"{file}:{beyond.argmax() + 1}: the file ends at byte {size}, before this row; {_ANEW}"
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
            raise InputError(f"{where}: the image is not base64 ({error}); {_ANEW}") from None
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
        image, caption, annotations = str(content["image"]), str(content["caption"]), list(content["annos"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{where}: the row is broken or cut off ({error}); {_ANEW}") from None
    if not annotations:
        raise InputError(f"{where}: has no annos")
    boxes, phrases = [], []
    for number, item in enumerate(annotations):
        place = f"{where}: anno {number}"
        if not isinstance(item, dict):
            raise InputError(f"{place} is no JSON object")
        boxes.append(check_box(item.get("bbox"), place))
        phrases.append(phrase_of(caption, item.get("tokens_positive"), place))
    return GligenRow(image, caption, np.array(boxes), phrases)


def phrase_of(caption: str, spans: Any, where: str) -> str:
    """The words of a caption that name an object: its character spans, joined by a space."""
    try:
        inside = all(0 <= start < end <= len(caption) for start, end in spans)
        phrase = " ".join(caption[start:end] for start, end in spans).strip() if inside else ""
    except (TypeError, ValueError):
        phrase = ""
    if not phrase:
        raise InputError(f"{where}: tokens_positive is {spans!r}, which names nothing in the caption")
    return phrase
