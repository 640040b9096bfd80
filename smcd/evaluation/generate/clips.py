"""The clips of an evaluation: from a dataset to a manifest, and the true frames."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from smcd.config import EvaluationConfig, EvaluationDataConfig
from smcd.data.build import summarize
from smcd.data.clips import VideoSource, read_frames
from smcd.data.got10k import GOT10k, read_cover
from smcd.data.sprites import Sprites
from smcd.data.youtube_vis import HELD_OUT, YouTubeVIS
from smcd.evaluation.metrics.manifest import Clip, Manifest, frames_sha256
from smcd.runtime.errors import InputError
from smcd.sprites.layouts import make_world

logger = logging.getLogger(__name__)

_PUBLISHED_VIDEOS = 180  # of YouTube-VIS: the first folders of train ...
_PUBLISHED_FRAMES = 8  # ... with at least so many frames
_YOUTUBE_VIS_OBJECTS = 8


@dataclass(frozen=True)
class _Chosen:
    """A dataset, what is used of it (in words), how many of its first videos, and the N of its clips."""

    source: VideoSource
    text: str
    objects: int
    most: int | None = None


class EvaluationClips:
    """The clips that a config asks for, its `dataset` being set.

    Raises:
        InputError: data that are missing or broken, or too short.
    """

    def __init__(self, config: EvaluationConfig):
        data, size = config.eval_data, config.validation_data
        self.dataset, self._resize = str(config.dataset), config.resize
        self._size = size.size
        self._frames = range(data.start, data.start + size.video_length * data.stride, data.stride)
        chosen = _choose(self.dataset, data, self._frames[-1] + 1, max(self._size))
        self._source, self._text, self.objects = chosen.source, chosen.text, chosen.objects
        names = self._source.names[: chosen.most]
        if not names:
            why = next((f": {name}: {reason}" for name, reason in self._source.dropped.items()), "")
            raise InputError(f"{self.dataset}: no video is left{why}")
        if config.max_clips and config.max_clips < len(names):
            names = names[: config.max_clips]
            self._text += f"; only the first {len(names)}"
        self._indices = {name: index for index, name in enumerate(names)}

    def manifest(self, workers: int) -> Manifest:
        """Read all clips once. Raises an InputError for a broken one."""
        names = list(self._indices)
        with ThreadPoolExecutor(max(1, workers)) as pool:
            clips = list(tqdm(pool.map(self._clip, names), f"reading {self.dataset}", len(names), unit="clip"))
        start, stride = self._frames.start, self._frames.step
        conventions = {
            "set": self._text,
            "frames": f"start {start}, stride {stride}",
            "objects": f"the first {self.objects}; the model is given {self.objects}, the missing ones as absent",
            "resize": f"squashed, {self._resize}",
        }
        return Manifest(self.dataset, *self._size, clips, conventions)

    def frames(self, clip: Clip) -> np.ndarray:
        """The true frames F H W 3. Raises an InputError where they are not those of the manifest."""
        frames = self._read(clip.sequence, clip.frames)
        if frames_sha256(frames) != clip.frames_sha256:
            raise InputError(f"{self.dataset}: the frames of {clip.sequence} changed while they were in use")
        return frames

    def _read(self, name: str, frames: Sequence[int]) -> np.ndarray:
        return read_frames(self._source, self._indices[name], frames, *self._size, self._resize)

    def _clip(self, name: str) -> Clip:
        video = self._source.video(self._indices[name])
        count, frames = min(len(video.phrases), self.objects), list(self._frames)
        cover, classes = self._labels(name, video.phrases, len(video))
        return Clip(
            sequence=name,
            frames=frames,
            prompt=video.prompt,
            phrases=list(video.phrases[:count]),
            classes=classes[:count],
            boxes=present_boxes(video.boxes[frames, :count], video.box_mask[frames, :count]),
            frames_sha256=frames_sha256(self._read(name, frames)),
            cover=None if cover is None else cover[frames, :count].tolist(),
        )

    def _labels(self, name: str, phrases: list[str], length: int) -> tuple[np.ndarray | None, list[str]]:
        """Visibility labels 0..8 (L N, or None where the dataset has none), and the objects' classes."""
        if isinstance(self._source, Sprites):
            clip = self._source.clip(self._indices[name])
            cover = np.rint(8 * clip.cover) * clip.box_mask
            return cover.astype(int), [sprite.shape for sprite in clip.sprites]
        if isinstance(self._source, GOT10k):
            labels = read_cover(self._source.folder / name, length)
            return None if labels is None else labels[:, None], list(phrases)
        return None, list(phrases)


def present_boxes(boxes: np.ndarray, mask: np.ndarray) -> list[list[list[float] | None]]:
    """F lists of N boxes from F N 4 and F N: cut to 0..1; None where the mask is 0 or nothing is left of the box."""
    inside = np.clip(boxes.astype(np.float64), 0, 1)
    there = (mask > 0) & (inside[..., 2:] > inside[..., :2]).all(-1)
    return [
        [box.tolist() if seen else None for box, seen in zip(*row, strict=True)]
        for row in zip(inside, there, strict=True)
    ]


def _choose(dataset: str, data: EvaluationDataConfig, needed: int, side: int) -> _Chosen:
    """The videos of a dataset that have `needed` frames; `side` is that of rendered frames, in pixels."""
    if dataset == "sprites":
        world = make_world(data.sprites_world.split())
        source = Sprites(data.sprites_clips, data.sprites_seed, needed, side, world)
        text = f"{data.sprites_clips} sprites clips, seed {data.sprites_seed}, {data.sprites_world or 'usual'} world"
        return _Chosen(source, text, data.num_max_obj)
    if not data.path:
        raise InputError(f"no data: name the folder that holds {dataset.split('-')[0]}, eval_data.path=FOLDER")
    path = Path(data.path)
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; see docs/data.md for how datasets must lie on disk")
    if dataset == "got10k":
        return _Chosen(_logged(GOT10k(path, "val", needed, data.on_error)), "GOT-10k, all of val", 1)
    least = max(_PUBLISHED_FRAMES, needed)
    only = dataset == "youvis-heldout"
    videos = _logged(YouTubeVIS(path, "only" if only else "include", least, data.on_error))
    if only:
        text = f"YouTube-VIS 2021, the {HELD_OUT} videos of train with the lowest SHA-1 of their names (of fewer, a "
        text += "tenth): left out of training here by default, but the published weights have seen them"
        return _Chosen(videos, text, _YOUTUBE_VIS_OBJECTS)
    text = f"YouTube-VIS 2021, the first {_PUBLISHED_VIDEOS} videos of train with at least {least} frames, as "
    text += "published: training sees them"
    return _Chosen(videos, text, _YOUTUBE_VIS_OBJECTS, _PUBLISHED_VIDEOS)


def _logged(source: GOT10k | YouTubeVIS) -> GOT10k | YouTubeVIS:
    """The source; what it leaves out is logged."""
    for line in summarize(source.name, len(source.names), source.dropped) if source.dropped else []:
        logger.info(line)
    return source
