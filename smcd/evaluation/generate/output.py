"""The folder of an evaluation: where clips lie, what of it is done, and writing a clip."""

import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import yaml

from smcd.config import EvaluationConfig
from smcd.evaluation.generate.plan import check_same, check_weights, read_settings
from smcd.evaluation.metrics.manifest import Clip, Manifest, differences, read_manifest
from smcd.evaluation.metrics.truth import MANIFEST_NAME
from smcd.runtime import media
from smcd.runtime.errors import InputError
from smcd.runtime.files import check_writable, new_file, new_folder

CONFIG_NAME, REPORT_NAME = "config.yaml", "report"


class Output:
    """The output folder of a run, perhaps with the clips of earlier ones.

    Attributes:
        root: the folder.
        earlier: the config of the earlier run, or None.

    Raises:
        InputError: what is there does not belong with this run, or the folder cannot be written.
    """

    def __init__(self, config: EvaluationConfig, manifest: Manifest):
        self.root, self.manifest = Path(config.output_dir).expanduser(), manifest
        self._seeds, self._sequences = config.seeds, [clip.sequence for clip in manifest.clips]
        check_writable(self.root)
        settings, file = self.root / CONFIG_NAME, self.root / MANIFEST_NAME
        self.earlier = read_settings(settings) if settings.is_file() else None
        if self.earlier is not None:
            check_same(settings, self.earlier, config)
        if file.is_file() and (changed := differences(read_manifest(file), manifest)):
            raise InputError(
                f"{file}: differs from the clips of this run: {'; '.join(changed)}; choose another output_dir"
            )
        # With one seed clips lie in the folder itself, as published; once there were several, in a folder each.
        self._by_seed = len(self._seeds) > 1 or (self.root / f"seed_{self._seeds[0]}").is_dir()
        if self.earlier is None or not file.is_file():
            self._refuse_strangers()

    def _refuse_strangers(self) -> None:
        for folder in (self.root, *(self.root / f"seed_{seed}" for seed in self._seeds)):
            if found := next((name for name in self._sequences if (folder / name).exists()), None):
                lost = f"without the {CONFIG_NAME} and {MANIFEST_NAME} of its run"
                raise InputError(f"{folder / found}: is there {lost}: choose another output_dir")

    def folder(self, seed: int, sequence: str) -> Path:
        """Where a clip lies, or will."""
        return self.root / f"seed_{seed}" / sequence if self._by_seed else self.root / sequence

    def is_done(self, seed: int, sequence: str) -> bool:
        """Clip folders appear when they are complete."""
        return self.folder(seed, sequence).is_dir() or (self._lone_seed() == seed and (self.root / sequence).is_dir())

    def _lone_seed(self) -> int | None:
        """The seed of clips that lie in the folder itself."""
        return self.earlier.seeds[0] if self.earlier is not None and len(self.earlier.seeds) == 1 else None

    def begin(self, config: EvaluationConfig, sha256: str) -> None:
        """Make the folder ready for writing: manifest, config, and what an earlier run left behind put in order.

        Args:
            sha256: of the weights.

        Raises:
            InputError: weights that are not those of the earlier run, or not what the config expects.
        """
        check_weights(config.weights_sha256, sha256, "weights_sha256")
        if self.earlier is not None:
            check_weights(self.earlier.weights_sha256, sha256, str(self.root / CONFIG_NAME))
        folders = {self.folder(seed, sequence).parent for seed in self._seeds for sequence in self._sequences}
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        for folder in {self.root, *folders}:
            for name in self._sequences:
                for left in folder.glob(f".{name}.*.partial"):  # of a run that was killed
                    shutil.rmtree(left)
        lone = self._lone_seed()
        if lone is not None and self._by_seed:
            for name in self._sequences:
                if (self.root / name).is_dir():
                    (self.root / name).rename(self.folder(lone, name))
        self.manifest.write(self.root / MANIFEST_NAME)
        with new_file(self.root / CONFIG_NAME) as temporary:
            resolved = asdict(config) | {"weights_sha256": sha256}
            text = yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True)
            temporary.write_text(text, encoding="utf-8")


def write_clip(folder: Path, clip: Clip, frames: np.ndarray, true: np.ndarray, objects: int, fps: float) -> None:
    """Write one clip's folder, which appears when it is complete: the published layout, and an mp4.

    Args:
        frames, true: the video and the true one, F H W 3, uint8.
        objects: lines of `box_{j}.txt`: `x1,y1,x2,y2` in 0..1, zeros for none.
        fps: of GIFs and mp4.
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
