"""GLIGEN's grounding data: images with boxes and phrases, base64 in TSV files."""

import base64
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from smcd.data.clips import Clip
from smcd.data.files import folder_of, read_text
from smcd.errors import InputError
from smcd.media import read_frame

SETS = ("flickr", "sbu", "gqa")
_SMALLEST = 0.01  # of the image's area: smaller boxes are dropped


@dataclass(frozen=True)
class GligenRow:
    """One image: its JPEG, its caption, and N boxes (xywh in pixels, float64) with their phrases."""

    jpeg: bytes
    caption: str
    boxes: np.ndarray
    phrases: list[str]


class GligenTSV:
    """One of GLIGEN's sets as clips of a single frame, a `ClipSource`.

    Images are cropped to squares at random; objects are sorted by area, the largest first.

    Args:
        path: the folder that holds `GLIGEN/GROUNDING`, or GROUNDING itself.
        name: flickr, sbu or gqa.
        size: of the square images, in pixels.
        max_objects: N, filled up with absent objects.
        crop_ratio: the smallest side of a crop, in parts of the image's short side; 1 is the centred whole square.
        resize: "antialiased" (bilinear), or "published": a box filter.
        phrase_embeddings: of phrases (`phrases.PhraseEmbeddings`), or None.

    Raises:
        InputError: naming the file that is missing or broken.
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
    ):
        self.name = f"gligen/{name}"
        self.size, self.max_objects, self.crop_ratio = size, max_objects, crop_ratio
        self._filter = PIL.Image.Resampling.BILINEAR if resize == "antialiased" else PIL.Image.Resampling.BOX
        self._phrase_embeddings = phrase_embeddings
        self.folder = folder_of(path, f"GLIGEN/GROUNDING/{name}", f"GROUNDING/{name}", name)
        self.files = sorted(self.folder.glob("*.tsv"))
        if not self.files:
            raise InputError(f"{self.folder}: holds no .tsv files; see docs/data.md")
        self._rows = [(file, row, offset) for file in self.files for row, offset in enumerate(read_offsets(file))]

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, index: int) -> GligenRow:
        """Row number `index`. Raises an InputError that names the file and the line."""
        file, row, offset = self._rows[index]
        return read_row(file, row, offset)

    def clip(self, index: int, rng: np.random.Generator) -> Clip:
        file, number, offset = self._rows[index]
        where = f"{file}:{number + 1}"
        row = read_row(file, number, offset)
        try:
            image = read_frame(io.BytesIO(row.jpeg))
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        side, left, top = self._crop(image.size, rng)
        pixels = image.resize((self.size, self.size), self._filter, (left, top, left + side, top + side))
        boxes, phrases = self._objects(row, side, left, top)
        box_tensor, box_mask = torch.zeros(1, self.max_objects, 4), torch.zeros(1, self.max_objects)
        box_tensor[0, : len(boxes)] = torch.from_numpy(boxes)
        box_mask[0, : len(boxes)] = 1
        phrases = [*phrases, *[""] * (self.max_objects - len(phrases))]
        clip = Clip(f"{self.name}/{file.stem}:{number + 1}", row.caption, phrases, box_tensor, box_mask)
        clip.frames = torch.from_numpy(np.asarray(pixels)[None].copy())
        if self._phrase_embeddings is not None:
            clip.phrase_embeddings = self._phrase_embeddings(phrases, where)
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
        corners = np.concatenate([row.boxes[:, :2], row.boxes[:, :2] + row.boxes[:, 2:]], axis=1)
        boxes = np.clip((corners - [left, top, left, top]) / side, 0, 1)
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
        order = [n for n in np.argsort(-areas, kind="stable") if areas[n] >= _SMALLEST][: self.max_objects]
        return boxes[order].astype(np.float32), [row.phrases[n] for n in order]


def read_offsets(tsv: Path) -> list[int]:
    """Byte offsets of the rows, from the .lineidx beside the file. Raises an InputError naming the line."""
    path = tsv.with_suffix(".lineidx")
    size = tsv.stat().st_size
    offsets = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip().isdigit() or int(line) >= size:
            raise InputError(f"{path}:{number}: {line[:40]!r} is no place in {tsv.name} ({size} bytes); {_ANEW}")
        offsets.append(int(line))
    if not offsets:
        raise InputError(f"{path}: is empty; {_ANEW}")
    return offsets


_ANEW = "download the .tsv and its .lineidx again"


def read_row(tsv: Path, number: int, offset: int) -> GligenRow:
    """Row `number` (from 0) of a file, at its byte offset. Raises an InputError where it is broken."""
    where = f"{tsv}:{number + 1}"
    with tsv.open("rb") as file:
        file.seek(max(0, offset - 1))
        if offset and file.read(1) != b"\n":
            raise InputError(f"{where}: no row starts at byte {offset}, where the .lineidx says so; {_ANEW}")
        line = file.readline()
    try:
        content = json.loads(line.partition(b"\t")[2])
        jpeg = base64.b64decode(content["image"], validate=True)
        caption, annotations = str(content["caption"]), list(content["annos"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{where}: the row is broken or cut off ({error}); {_ANEW}") from None
    if not annotations:
        raise InputError(f"{where}: has no annos")
    boxes = [_box(item, f"{where}: anno {n}") for n, item in enumerate(annotations)]
    phrases = [
        phrase_of(caption, item.get("tokens_positive"), f"{where}: anno {n}") for n, item in enumerate(annotations)
    ]
    return GligenRow(jpeg, caption, np.array(boxes), phrases)


def _box(annotation: Any, where: str) -> list[float]:
    try:
        values = [float(value) for value in annotation["bbox"]]
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{where}: has no bbox x, y, w, h") from None
    if len(values) != 4 or not np.isfinite(values).all():
        raise InputError(f"{where}: {annotation['bbox']} is no box x, y, w, h")
    return values


def phrase_of(caption: str, spans: Any, where: str) -> str:
    """The words of a caption that name an object: its character spans, joined by a space."""
    try:
        phrase = " ".join(caption[int(start) : int(end)] for start, end in spans).strip()
    except (TypeError, ValueError):
        phrase = ""
    if not phrase:
        raise InputError(f"{where}: tokens_positive is {spans!r}, which names nothing in the caption")
    return phrase
