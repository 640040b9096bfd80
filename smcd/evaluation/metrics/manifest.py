"""The manifest: which clips an evaluation is about, and what is true of them. One JSON file; its hash names it.

`docs/evaluation.md` describes the entries.
"""

import hashlib
import json
import math
import re
from collections import Counter
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path, PureWindowsPath
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from smcd.evaluation.metrics.schema import Count, Name, Number, Side, Text, Texts, read_formatted
from smcd.runtime.errors import InputError
from smcd.runtime.files import write_json
from smcd.runtime.names import stays_inside

FORMAT = "smcd manifest 1"
MANIFEST_NAME, CONFIG_NAME, REPORT_NAME = "manifest.json", "config.yaml", "report"  # beside the folders of the clips
_TAKEN = re.compile(rf"{re.escape(MANIFEST_NAME)}|{re.escape(CONFIG_NAME)}|{REPORT_NAME}|seed_\d+", re.IGNORECASE)
_NO_FOLDER = re.compile(r"[/*?]|^\.|[. ]$")  # hidden folders are temporary, and Windows ignores dots at the end
_LONGEST = 200  # bytes; temporary names are longer
Boxes = list[list[list[Number] | None]]  # F N, xyxy in 0..1 of the frame, None where the object is absent


@dataclass(frozen=True)
class Clip:
    """One clip of F frames with N objects. Raises an InputError for lists or boxes that do not fit."""

    sequence: Name  # also of its folder
    frames: Annotated[list[Count], Field(max_length=10_000)]  # their numbers in the source video
    prompt: Text
    phrases: Annotated[list[Text], Field(max_length=1000)]  # what each object is called
    classes: list[Name]  # the class that each object counts for; "" for none
    boxes: Boxes
    frames_sha256: Name  # of the F true frames at the manifest's size
    cover: list[list[Number]] | None = None  # F lists of N, the dataset's visibility labels (0 is invisible), or None

    def __post_init__(self) -> None:
        name, count, objects = self.sequence, len(self.frames), len(self.phrases)
        check_clip_name(name)
        if count < 2:
            raise InputError(f"{name}: {count} frames; a clip has at least 2")
        for what, rows in (("boxes", self.boxes), ("cover", self.cover)):
            if rows is not None and [len(row) for row in rows] != [objects] * count:
                raise InputError(f"{name}: {what} should be {count} lists, one per frame, of {objects}, one per phrase")
        if len(self.classes) != objects:
            raise InputError(f"{name}: {len(self.classes)} classes for {objects} phrases")
        for f, row in enumerate(self.boxes):
            for box in row:
                if box is not None and not _is_box(box):
                    raise InputError(f"{name}, frame {f}: {box} is not a box x1, y1, x2, y2 in 0..1")

    def pixel_boxes(self, height: int, width: int) -> np.ndarray:
        """Boxes F N 4 in pixels, NaN where the object is absent."""
        rows = [[[math.nan] * 4 if box is None else box for box in row] for row in self.boxes]
        shape = len(self.frames), len(self.phrases), 4
        return np.array(rows, dtype=np.float64).reshape(shape) * [width, height, width, height]


def check_clip_name(name: str) -> None:
    """Raise an InputError if a clip cannot be called so: its folder lies beside the other files of an evaluation."""
    if _TAKEN.fullmatch(name) or PureWindowsPath(name).is_reserved():
        raise InputError(
            f"{name!r} cannot name a clip: a file or folder of the evaluation, or of Windows, is called so"
        )
    if not stays_inside(name) or _NO_FOLDER.search(name) or len(name.encode()) > _LONGEST:
        fix = f"use up to {_LONGEST} bytes without / \\ * ? and line breaks, and no dot or space at the ends"
        raise InputError(f"{name[:80]!r} cannot name a clip, whose folder is called so: {fix}")


def _is_box(box: Any) -> bool:
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(value, int | float) for value in box):
        return False
    x1, y1, x2, y2 = box
    return 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1  # NaN is nowhere


@dataclass(frozen=True)
class Manifest:
    """The clips of an evaluation, in a fixed order. Raises an InputError if there is none, or two have one name."""

    dataset: Name  # such as got10k
    height: Side  # of the scored frames
    width: Side
    clips: list[Clip]
    conventions: Texts = field(default_factory=dict)  # split, start, stride, resizing, for the report

    def __post_init__(self) -> None:
        names = [clip.sequence.casefold() for clip in self.clips]  # some file systems do not tell capitals apart
        if twice := sorted(name for name, count in Counter(names).items() if count > 1):
            raise InputError(f"manifest: clips of the same name: {', '.join(twice)}")
        if not names:
            raise InputError("manifest: there is no clip in it")

    @cached_property
    def sha256(self) -> str:
        """The hash of everything in it; it does not depend on how the file is laid out."""
        text = json.dumps(self._content(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def _content(self) -> dict[str, Any]:
        return {"format": FORMAT, **asdict(self)}

    def write(self, path: Path) -> None:
        """Write the JSON file, whole or not at all."""
        write_json(path, self._content() | {"sha256": self.sha256}, indent=1)


def read_manifest(path: Path) -> Manifest:
    """The manifest of a file. Raises an InputError if it is unreadable, or was changed after its hash was taken."""
    content, manifest = read_formatted(path, "manifest", FORMAT, Manifest)
    if content.get("sha256") != manifest.sha256:
        raise InputError(f"{path}: was changed after it was made (its hash differs); make it anew")
    return manifest


def differences(old: Manifest, new: Manifest) -> list[str]:
    """What differs between two manifests, in words; nothing where their hashes are equal."""
    was, now = (
        {"dataset": manifest.dataset, "height": manifest.height, "width": manifest.width, **manifest.conventions}
        for manifest in (old, new)
    )
    pairs = {name: (was.get(name, ""), now.get(name, "")) for name in was | now}
    found = [f"{name} was {a!r}, is {b!r}" for name, (a, b) in pairs.items() if a != b]
    before, after = ({clip.sequence: clip for clip in manifest.clips} for manifest in (old, new))
    for what, names in (
        ("no longer there", [name for name in before if name not in after]),
        ("new", [name for name in after if name not in before]),
        ("changed", [name for name in after if name in before and before[name] != after[name]]),
    ):
        if names:
            found.append(f"{len(names)} clips are {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})")
    if not found and old.sha256 != new.sha256:
        found.append("the order of the clips")
    return found


def box_lists(boxes: np.ndarray) -> Boxes:
    """F lists of N boxes from F N 4: cut to 0..1; None where it is NaN or nothing is left of the box."""
    inside = np.clip(boxes.astype(np.float64), 0, 1)
    return [[box.tolist() if (box[2:] > box[:2]).all() else None for box in row] for row in inside]


def frames_sha256(frames: np.ndarray) -> str:
    """Hash of frames F H W 3 (uint8): shape and pixels, whatever file they came from."""
    digest = hashlib.sha256(repr(frames.shape).encode())
    digest.update(np.ascontiguousarray(frames, dtype=np.uint8).tobytes())
    return digest.hexdigest()
