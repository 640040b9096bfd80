"""What predictions are compared with: a manifest, and the true frames where they are at hand."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from smcd.evaluation.metrics.manifest import Clip, Manifest, frames_sha256, read_manifest
from smcd.evaluation.metrics.videos import Videos, find_videos
from smcd.runtime.errors import InputError

logger = logging.getLogger(__name__)
MANIFEST_NAME = "manifest.json"


@dataclass(frozen=True)
class Truth:
    """A manifest and its videos; `videos` is None where there are none, and what needs them is left out."""

    manifest: Manifest
    videos: Videos | None

    def for_clips(self, sequences: Sequence[str]) -> "Truth":
        """The same, without the videos if one of these clips lacks its own."""
        if self.videos is None or all(name in self.videos.sources for name in sequences):
            return self
        logger.warning(f"{self.videos.root}: true videos are missing; what needs them is left out")
        return Truth(self.manifest, None)


def read_truth(path: Path, predictions: Path | None = None) -> Truth:
    """The truth of `--truth`.

    Args:
        path: a manifest, with the true frames beside it (`<sequence>/gt_img/`) or beside the predictions; or a folder
            of true videos, with a `manifest.json`, or with `box_{j}.txt` and `prompt.txt` per clip as published.
        predictions: the folder of predictions.

    Raises:
        InputError: nothing usable there.
    """
    file = path / MANIFEST_NAME if path.is_dir() else path
    if path.is_dir() and not file.is_file():
        videos = find_videos(path, "gt")
        return Truth(_manifest_of_folder(path, videos), videos)
    manifest = read_manifest(file)
    names = [clip.sequence for clip in manifest.clips]
    found = []
    for root in (file.parent, predictions):
        if root is not None and root.is_dir():
            shared = predictions is not None and root.resolve() == predictions.resolve()
            found.append(find_videos(root, "gt", [name for name in names if _has_truth(root, name, shared)]))
    most = max(found, key=lambda videos: len(videos.sources))  # the manifest's folder is there
    return Truth(manifest, most if most.sources else None)


def _has_truth(root: Path, name: str, among_predictions: bool) -> bool:
    """Images directly in a clip's folder are the truth only where no predictions lie."""
    return not among_predictions or (root / name / "gt_img").is_dir()


def _manifest_of_folder(root: Path, videos: Videos) -> Manifest:
    """A manifest of a folder of true videos with the published text files beside them."""
    clips, sizes = [], set()
    for sequence in videos.sources:
        frames = videos.read(sequence)
        sizes.add(frames.shape[1:3])
        folder = root / sequence
        boxes = _read_boxes(folder, len(frames))
        phrases = [f"object {n + 1}" for n in range(len(boxes[0]))]
        clips.append(
            Clip(
                sequence=sequence,
                frames=list(range(len(frames))),
                prompt=_read_prompt(folder / "prompt.txt"),
                phrases=phrases,
                classes=[""] * len(phrases),
                boxes=boxes,
                frames_sha256=frames_sha256(frames),
            )
        )
    if not clips:
        raise InputError(f"{root}: there is no video in it, and no {MANIFEST_NAME}")
    if len(sizes) > 1:
        raise InputError(f"{root}: clips of different sizes ({', '.join(f'{w} x {h}' for h, w in sorted(sizes))})")
    height, width = sizes.pop()
    return Manifest("folder", height, width, clips, {"source": f"read from the folder {root.name}, without a manifest"})


def _read_prompt(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip() if path.is_file() else ""
    except ValueError:
        raise InputError(f"{path}: is not UTF-8 text") from None


def _read_boxes(folder: Path, count: int) -> list[list[list[float] | None]]:
    """Boxes F N of `box_{j}.txt`: frame j, a line `x1,y1,x2,y2` in 0..1 per object, zeros for none. None: N is 0."""
    files = [folder / f"box_{f}.txt" for f in range(count)]
    present = [path.is_file() for path in files]
    if not any(present):
        return [[] for _ in range(count)]
    if not all(present):
        raise InputError(f"{files[present.index(False)]}: is missing; there is one for every frame, or none")
    rows = [_read_box_file(path) for path in files]
    most = max(map(len, rows))
    rows = [row + [None] * (most - len(row)) for row in rows]
    used = [n for n in range(most) if any(row[n] is not None for row in rows)]  # the published files are padded to 8
    return [[row[n] for n in used] for row in rows]


def _read_box_file(path: Path) -> list[list[float] | None]:
    boxes: list[list[float] | None] = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            x1, y1, x2, y2 = np.clip([float(value) for value in line.split(",")], 0, 1).tolist()
        except ValueError:
            raise InputError(f"{path}:{number}: {line!r} is not x1,y1,x2,y2") from None
        if any(value != value for value in (x1, y1, x2, y2)):
            raise InputError(f"{path}:{number}: {line!r} is not x1,y1,x2,y2")
        boxes.append([x1, y1, x2, y2] if x2 > x1 and y2 > y1 else None)
    return boxes


def check_frames(truth: Truth, sequence: str, sha256: str) -> None:
    """Raise an InputError where true frames are not those of the manifest."""
    expected = next(clip.frames_sha256 for clip in truth.manifest.clips if clip.sequence == sequence)
    if sha256 != expected:
        root = truth.videos.root if truth.videos else ""
        raise InputError(f"{root}: the true frames of {sequence} are not those of the manifest (their hash differs)")
