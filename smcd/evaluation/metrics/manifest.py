"""The manifest: which clips an evaluation is about, and what is true of them. One JSON file; its hash names it.

    {"format": "smcd manifest 1", "dataset": "got10k", "height": 256, "width": 256,
     "conventions": {"frames": "start 0, stride 4", ...},
     "clips": [{"sequence": "GOT-10k_Val_000001", "frames": [0, 4, ...], "prompt": "A dog ...", "phrases": ["dog"],
                "classes": ["dog"], "boxes": [[[x1, y1, x2, y2]], ...], "cover": [[8], ...], "frames_sha256": "..."}],
     "sha256": "..."}

Boxes are F lists of N, xyxy in 0..1 of the frame, null where the object is absent; `cover` is null or F lists of N (the
dataset's visibility labels; 0 is invisible); `frames_sha256` is of the F frames at height x width.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from smcd.runtime.errors import InputError
from smcd.runtime.files import new_file

FORMAT = "smcd manifest 1"


@dataclass(frozen=True)
class Clip:
    """One clip of F frames with N objects; see the module's text.

    Raises:
        InputError: lists of different lengths, or a box outside 0..1 or turned over.
    """

    sequence: str
    frames: list[int]
    prompt: str
    phrases: list[str]
    classes: list[str]
    boxes: list[list[list[float] | None]]
    frames_sha256: str
    cover: list[list[float]] | None = None

    def __post_init__(self) -> None:
        name, count, objects = self.sequence, len(self.frames), len(self.phrases)
        if not name or name in (".", "..") or "/" in name or "\\" in name:
            raise InputError(f"{name!r} cannot name a clip: it names a folder, too")
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
                    raise InputError(f"{name}, frame {f}: {box} is no box x1, y1, x2, y2 in 0..1")

    def pixel_boxes(self, height: int, width: int) -> np.ndarray:
        """Boxes F N 4 in pixels, NaN where the object is absent."""
        rows = [[[math.nan] * 4 if box is None else box for box in row] for row in self.boxes]
        shape = len(self.frames), len(self.phrases), 4
        return np.array(rows, dtype=np.float64).reshape(shape) * [width, height, width, height]


def _is_box(box: Any) -> bool:
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(value, int | float) for value in box):
        return False
    x1, y1, x2, y2 = box
    return 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1  # NaN is nowhere


@dataclass(frozen=True)
class Manifest:
    """The clips of an evaluation, in a fixed order.

    Attributes:
        dataset: a name: got10k, youvis, youvis-heldout, sprites, ...
        height, width: of the scored frames, in pixels.
        conventions: what was settled when it was made (split, start, stride, resizing), in words, for the report.

    Raises:
        InputError: no clip, or two of one name.
    """

    dataset: str
    height: int
    width: int
    clips: list[Clip]
    conventions: dict[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [clip.sequence for clip in self.clips]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InputError(f"manifest: clips of the same name: {', '.join(twice)}")
        if not names:
            raise InputError("manifest: there is no clip in it")

    @cached_property
    def sha256(self) -> str:
        """Of everything in it; the same for the same content, however the file is laid out."""
        text = json.dumps(self._content(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def _content(self) -> dict[str, Any]:
        return {"format": FORMAT, **dataclasses.asdict(self)}

    def subset(self, sequences: Sequence[str]) -> "Manifest":
        """The manifest of these clips alone, in its own order; another manifest, with another hash."""
        chosen = set(sequences)
        return dataclasses.replace(self, clips=[clip for clip in self.clips if clip.sequence in chosen])

    def write(self, path: Path) -> None:
        """Write the JSON file, whole or not at all."""
        text = json.dumps(self._content() | {"sha256": self.sha256}, indent=1) + "\n"
        with new_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def read_json(path: Path, what: str, form: str) -> dict[str, Any]:
    """A JSON object whose "format" is `form`; raises an InputError where it is not there, or no such thing."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError:
        raise InputError(f"{path}: is not JSON") from None
    if not isinstance(content, dict) or content.get("format") != form:
        raise InputError(f"{path}: is no {what} (its format should be {form!r})")
    return content


def read_manifest(path: Path) -> Manifest:
    """The manifest of a file.

    Raises:
        InputError: it cannot be read, has unknown or missing entries, or was changed after its hash was taken.
    """
    content = read_json(path, "manifest", FORMAT)
    del content["format"]
    stated = content.pop("sha256", None)
    try:
        manifest = Manifest(**content | {"clips": [Clip(**clip) for clip in content["clips"]]})
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: entries are missing or unknown ({error})") from None
    if stated != manifest.sha256:
        raise InputError(f"{path}: was changed after it was made (its hash differs); make it anew")
    return manifest


def differences(old: Manifest, new: Manifest) -> list[str]:
    """What differs between two manifests, in words; nothing where their hashes are equal."""
    pairs = {"dataset": (old.dataset, new.dataset), "height": (old.height, new.height), "width": (old.width, new.width)}
    kinds = dict.fromkeys([*old.conventions, *new.conventions])
    pairs |= {kind: (old.conventions.get(kind, ""), new.conventions.get(kind, "")) for kind in kinds}
    found = [f"{name} was {was!r}, is {now!r}" for name, (was, now) in pairs.items() if was != now]
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


def frames_sha256(frames: np.ndarray) -> str:
    """Hash of frames F H W 3 (uint8): shape and pixels, whatever file they came from."""
    digest = hashlib.sha256(repr(frames.shape).encode())
    digest.update(np.ascontiguousarray(frames, dtype=np.uint8).tobytes())
    return digest.hexdigest()
