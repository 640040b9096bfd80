"""The clips of an evaluation: from a dataset to a manifest, and the true frames."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from smcd.config import EvaluationDataConfig
from smcd.data.build import summarize
from smcd.data.clips import VideoSource, read_frames
from smcd.data.got10k import GOT10k, read_cover
from smcd.data.sprites import Sprites
from smcd.data.youtube_vis import HELD_OUT, YouTubeVIS
from smcd.evaluation.metrics.manifest import Boxes, Clip, Manifest, box_lists, frames_sha256
from smcd.runtime.errors import InputError
from smcd.sprites.layouts import make_world

logger = logging.getLogger(__name__)

_PUBLISHED_VIDEOS = 180  # of YouTube-VIS: the first folders of train ...
_PUBLISHED_FRAMES = 8  # ... with at least so many frames
_YOUTUBE_VIS_OBJECTS = 8


class EvaluationClips:
    """The clips of a dataset that are evaluated: `length` frames each, squashed to `size` (height, width) by `resize`.

    If `max_clips` is not 0, only the first so many. Raises an InputError if data are missing, broken or too short.
    """

    def __init__(
        self, dataset: str, data: EvaluationDataConfig, length: int, size: tuple[int, int], resize: str, max_clips: int
    ):
        self.dataset, self._size, self._resize = dataset, size, resize
        self._frames = range(data.start, data.start + length * data.stride, data.stride)
        self._source, self._text, self.objects, most = _choose(dataset, data, self._frames[-1] + 1, max(size))
        if self._source.dropped:
            logger.info("\n".join(summarize(self._source.name, len(self._source.names), self._source.dropped)))
        names = self._source.names[:most]
        if not names:
            why = next((f": {name}: {reason}" for name, reason in self._source.dropped.items()), "")
            raise InputError(f"{self.dataset}: no video is left{why}")
        if max_clips and max_clips < len(names):
            names = names[:max_clips]
            self._text += f"; only the first {len(names)}"
        self._indices = {name: index for index, name in enumerate(names)}

    def manifest(self, workers: int) -> Manifest:
        """Read all clips once. Raises an InputError for a broken one."""
        names = list(self._indices)
        with ThreadPoolExecutor(max(1, workers)) as pool:
            clips = list(tqdm(pool.map(self._clip, names), f"reading {self.dataset}", len(names), unit="clip"))
        conventions = {
            "set": self._text,
            "frames": f"start {self._frames.start}, stride {self._frames.step}",
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
        most, frames = self.objects, list(self._frames)
        cover, classes = self._labels(name, video.phrases, len(video))
        return Clip(
            sequence=name,
            frames=frames,
            prompt=video.prompt,
            phrases=video.phrases[:most],
            classes=classes[:most],
            boxes=present_boxes(video.boxes[frames, :most], video.box_mask[frames, :most]),
            frames_sha256=frames_sha256(self._read(name, frames)),
            cover=None if cover is None else cover[frames, :most].tolist(),
        )

    def _labels(self, name: str, phrases: list[str], length: int) -> tuple[np.ndarray | None, list[str]]:
        """Visibility labels 0..8 (L N, or None where the dataset has none), and the objects' classes."""
        if isinstance(self._source, Sprites):
            clip = self._source.clip(self._indices[name])
            cover = np.rint(8 * clip.cover) * clip.box_mask
            return cover.astype(int), [sprite.shape for sprite in clip.sprites]
        if isinstance(self._source, GOT10k):
            labels = read_cover(self._source.folder / name, length)
            return None if labels is None else labels[:, None], phrases
        return None, phrases


def present_boxes(boxes: np.ndarray, mask: np.ndarray) -> Boxes:
    """F lists of N boxes from F N 4 and F N: cut to 0..1; None where the mask is 0 or nothing is left of the box."""
    return box_lists(np.where(mask[..., None] > 0, boxes, np.nan))


def _choose(
    dataset: str, data: EvaluationDataConfig, needed: int, side: int
) -> tuple[VideoSource, str, int, int | None]:
    """The videos with `needed` frames (rendered ones of `side` pixels), a text about them, their N, and how many."""
    if dataset == "sprites":
        world = make_world(data.sprites_world.split())
        sprites = Sprites(data.sprites_clips, data.sprites_seed, needed, side, world)
        text = f"{data.sprites_clips} sprites clips, seed {data.sprites_seed}, {data.sprites_world or 'usual'} world"
        return sprites, text, data.num_max_obj, None
    path = Path(str(data.path))  # checked with the options
    if dataset == "got10k":
        text = "GOT-10k, all of val" + ("; prompts from its file of captions" if data.captions else "")
        return GOT10k(path, "val", needed, data.on_error, data.captions), text, 1, None
    least = max(_PUBLISHED_FRAMES, needed)
    if dataset == "youvis-heldout":
        text = f"YouTube-VIS 2021, the {HELD_OUT} videos of train with the lowest SHA-1 of their names (of fewer, a "
        text += "tenth): left out of training here by default, but the published weights have seen them"
        return YouTubeVIS(path, "only", least, data.on_error), text, _YOUTUBE_VIS_OBJECTS, None
    text = f"YouTube-VIS 2021, the first {_PUBLISHED_VIDEOS} videos of train with at least {least} frames, as "
    text += "published: training sees them"
    return YouTubeVIS(path, "include", least, data.on_error), text, _YOUTUBE_VIS_OBJECTS, _PUBLISHED_VIDEOS
