"""What predictions are compared with: a manifest, and the true frames where they are at hand."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from smcd.data.label_files import read_numbers
from smcd.evaluation.metrics.manifest import (
    MANIFEST_NAME,
    Boxes,
    Clip,
    Manifest,
    box_lists,
    frames_sha256,
    read_manifest,
)
from smcd.evaluation.metrics.videos import Videos, find_videos, seeds_of
from smcd.runtime.errors import InputError
from smcd.runtime.files import read_text


@dataclass(frozen=True)
class Truth:
    """A manifest and its videos; `videos` is None where there are none, and what needs them is left out."""

    manifest: Manifest
    videos: Videos | None

    def frames(self, clip: Clip) -> np.ndarray:
        """The true frames F H W 3. Raises an InputError if they are not those of the manifest."""
        assert self.videos is not None
        frames = self.videos.read(clip.sequence, self.shape(clip))
        if frames_sha256(frames) != clip.frames_sha256:
            raise InputError(f"{self.videos.root}: the true frames of {clip.sequence} are not those of the manifest")
        return frames

    def shape(self, clip: Clip) -> tuple[int, int, int]:
        """Number, height and width of a clip's frames."""
        return len(clip.frames), self.manifest.height, self.manifest.width


def read_truth(path: Path, predictions: Path | None = None) -> Truth:
    """The truth of `--truth`. Raises an InputError if there is nothing usable.

    Args:
        path: a manifest, with the true frames beside it (`<sequence>/gt_img/`, perhaps below `seed_33`) or beside the
            predictions; or a folder of true videos, with a `manifest.json`, or with `box_{j}.txt` and `prompt.txt` per
            clip as published.
        predictions: the folder of predictions.
    """
    file = path / MANIFEST_NAME if path.is_dir() else path
    if path.is_dir() and not file.is_file():
        videos = find_videos(path, "gt")
        return Truth(_manifest_of_folder(path, videos), videos)
    manifest = read_manifest(file)
    names = [clip.sequence for clip in manifest.clips]
    found = []
    seeds = seeds_of(file.parent).values()  # an evaluation with several seeds keeps the true frames below each
    for root in dict.fromkeys((file.parent, *seeds, *filter(None, [predictions]))):
        # among predictions only the images in gt_img are the truth
        apart = root == file.parent and (predictions is None or root.resolve() != predictions.resolve())
        found.append(find_videos(root, "gt", [name for name in names if apart or (root / name / "gt_img").is_dir()]))
    most = max(found, key=lambda videos: len(videos.sources))
    return Truth(manifest, most if most.sources else None)


def _manifest_of_folder(root: Path, videos: Videos) -> Manifest:
    """A manifest of a folder of true videos with the published text files beside them."""
    clips, sizes = [], set()
    for sequence in videos.sources:
        frames = videos.read(sequence)
        sizes.add(frames.shape[1:3])
        boxes = _read_boxes(root / sequence, len(frames))
        phrases = [f"object {n + 1}" for n in range(len(boxes[0]))]
        file, numbers = root / sequence / "prompt.txt", list(range(len(frames)))
        prompt = read_text(file).strip() if file.is_file() else ""
        clips.append(Clip(sequence, numbers, prompt, phrases, [""] * len(phrases), boxes, frames_sha256(frames)))
    if not clips:
        raise InputError(f"{root}: there is no video in it, and no {MANIFEST_NAME}")
    if len(sizes) > 1:
        raise InputError(f"{root}: clips of different sizes ({', '.join(f'{w} x {h}' for h, w in sorted(sizes))})")
    height, width = sizes.pop()
    return Manifest("folder", height, width, clips, {"source": f"read from the folder {root.name}, without a manifest"})


def _read_boxes(folder: Path, count: int) -> Boxes:
    """Boxes F N of `box_{j}.txt`: frame j, a line `x1,y1,x2,y2` in 0..1 per object, zeros for none; no file: N is 0."""
    files = [folder / f"box_{f}.txt" for f in range(count)]
    if not any(path.is_file() for path in files):
        return [[] for _ in files]
    rows = [read_numbers(path, 4) for path in files]
    boxes = np.zeros((count, max(map(len, rows)), 4))
    for f, row in enumerate(rows):
        boxes[f, : len(row)] = row
    lists = box_lists(boxes)
    used = [n for n in range(boxes.shape[1]) if any(row[n] for row in lists)]  # the published files are padded to 8
    return [[row[n] for n in used] for row in lists]
