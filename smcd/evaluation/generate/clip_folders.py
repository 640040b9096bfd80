"""The folder of an evaluation: where clips lie, which of them are done, and writing a clip."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from smcd.config import yaml_text
from smcd.evaluation.metrics.manifest import CONFIG_NAME, MANIFEST_NAME, Clip, Manifest, differences, read_manifest
from smcd.runtime import media
from smcd.runtime.errors import InputError
from smcd.runtime.files import check_writable, new_file, new_folder


class ClipFolders:
    """The clips of a run below its output folder `root`, perhaps with those of an earlier run, its `earlier_seeds`.

    With one seed clips lie in the folder itself, as published; once there were several, in a folder for each seed.
    Raises an InputError if the folder's content does not belong with this run, or the folder cannot be written.
    """

    def __init__(self, root: Path, manifest: Manifest, seeds: Sequence[int], earlier_seeds: Sequence[int]):
        self.root, self.manifest, self._seeds = root, manifest, seeds
        self._sequences = [clip.sequence for clip in manifest.clips]
        check_writable(root)
        file = root / MANIFEST_NAME
        if file.is_file() and (changed := differences(read_manifest(file), manifest)):
            told = "; ".join(changed)
            raise InputError(f"{file}: differs from the clips of this run: {told}; choose another output_dir")
        self._by_seed = len(seeds) > 1 or (root / f"seed_{seeds[0]}").is_dir()
        self._lone_seed = earlier_seeds[0] if len(earlier_seeds) == 1 else None
        if not earlier_seeds or not file.is_file():
            for folder in (root, *(root / f"seed_{seed}" for seed in seeds)):
                if found := next((name for name in self._sequences if (folder / name).exists()), None):
                    lost = f"without the {CONFIG_NAME} and {MANIFEST_NAME} of its run"
                    raise InputError(f"{folder / found}: is there {lost}: choose another output_dir")

    def folder(self, seed: int, sequence: str) -> Path:
        """Where a clip lies, or will."""
        return self.root / f"seed_{seed}" / sequence if self._by_seed else self.root / sequence

    def is_done(self, seed: int, sequence: str) -> bool:
        """Clip folders appear when they are complete."""
        return self.folder(seed, sequence).is_dir() or (self._lone_seed == seed and (self.root / sequence).is_dir())

    def begin(self, settings: dict[str, Any]) -> None:
        """Make the folder ready for writing: manifest, settings, and what an earlier run left behind put in order."""
        for seed in self._seeds:
            self.folder(seed, self._sequences[0]).parent.mkdir(parents=True, exist_ok=True)
        for name in self._sequences:
            if self._by_seed and self._lone_seed is not None and (self.root / name).is_dir():
                (self.root / name).rename(self.folder(self._lone_seed, name))
        self.manifest.write(self.root / MANIFEST_NAME)
        with new_file(self.root / CONFIG_NAME) as temporary:
            temporary.write_text(yaml_text(settings), encoding="utf-8")


def write_clip(folder: Path, clip: Clip, frames: np.ndarray, true: np.ndarray, objects: int, fps: float) -> None:
    """Write one clip's folder, which appears when it is complete: the published layout, and an mp4.

    `frames` and `true` are the video and the true one, F H W 3, uint8. Each `box_{j}.txt` has `objects` lines
    `x1,y1,x2,y2` in 0..1, zeros for none. `fps` holds for the GIFs and the mp4.
    """
    with new_folder(folder) as temporary:
        for kind, video in (("pred", frames), ("gt", true)):
            with_boxes = media.draw_boxes(video, clip.boxes, clip.phrases)
            media.write_frames(temporary / f"{kind}_img", f"{kind}_img", video)
            media.write_frames(temporary / f"{kind}_box_img", f"{kind}_box_img", with_boxes)
            media.write_video(temporary / f"{kind}_video.gif", video, fps)
            media.write_video(temporary / f"boxes_{kind}.gif", with_boxes, fps)
        media.write_video(temporary / "pred_video.mp4", frames, fps)
        (temporary / "prompt.txt").write_text(f"{clip.prompt}\n", encoding="utf-8")
        for f, boxes in enumerate(clip.boxes):
            rows = [box or [0.0] * 4 for box in boxes] + [[0.0] * 4] * (objects - len(boxes))
            lines = "".join(",".join(f"{value:.6f}" for value in row) + "\n" for row in rows)
            (temporary / f"box_{f}.txt").write_text(lines)
