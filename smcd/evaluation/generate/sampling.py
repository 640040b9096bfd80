"""Sampling and writing the videos of an evaluation, in groups that are always the same."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image
from tqdm import tqdm

from smcd.evaluation.generate.clip_folders import ClipFolders, write_clip
from smcd.evaluation.metrics.manifest import Clip
from smcd.sampler import Sampler, clip_generator

_GROUPS_AHEAD = 2  # that are read while others are sampled
ReadFrames = Callable[[Clip], np.ndarray]  # the true frames F H W 3


@dataclass(frozen=True)
class Group:
    """Clips that are sampled together: always the same ones, so that the videos are always the same.

    `missing` are those that are not written yet.
    """

    seed: int
    clips: list[Clip]
    missing: set[str]


def missing_groups(clips: Sequence[Clip], seeds: Sequence[int], size: int, folders: ClipFolders) -> list[Group]:
    """Groups of `size` clips that are not complete yet, for each seed."""
    groups = []
    for seed in seeds:
        for first in range(0, len(clips), size):
            some = list(clips[first : first + size])
            missing = {clip.sequence for clip in some if not folders.is_done(seed, clip.sequence)}
            groups.append(Group(seed, some, missing))
    return [group for group in groups if group.missing]


def sample_groups(
    groups: Sequence[Group],
    sampler: Sampler,
    read: ReadFrames,
    folders: ClipFolders,
    objects: int,
    fps: float,
    num_workers: int,
    show_bar: bool,
) -> None:
    """Sample and write groups; a group's clips are written while the next group is sampled.

    Args:
        objects: how many the model is given for each clip; those that a clip lacks are absent.
        num_workers: threads that read true frames.

    Raises:
        InputError: see `EvaluationClips.frames`, `Sampler` and `write_clip`.
    """
    writing: list[Future] = []
    with (
        ThreadPoolExecutor(max(len(group.clips) for group in groups)) as pool,
        tqdm(
            total=sum(len(group.missing) for group in groups), desc="sampling", unit="clip", disable=not show_bar
        ) as bar,
    ):
        for group, true in _read_ahead(groups, read, num_workers):
            videos = sample(sampler, group, true, objects)
            _wait_for(writing, bar)
            for clip, frames, given in zip(group.clips, videos, true, strict=True):
                if clip.sequence in group.missing:
                    folder = folders.folder(group.seed, clip.sequence)
                    writing.append(pool.submit(write_clip, folder, clip, frames, given, objects, fps))
        _wait_for(writing, bar)


def _wait_for(writing: list[Future], bar: Any) -> None:
    """Wait until these clips are written; raises what went wrong."""
    while writing:
        writing.pop().result()
        bar.update()


def _read_ahead(groups: Sequence[Group], read: ReadFrames, workers: int) -> Iterator[tuple[Group, list[np.ndarray]]]:
    """The groups with their true frames, which threads read while earlier groups are at work."""
    waiting: deque[tuple[Group, list[Future]]] = deque()
    pool = ThreadPoolExecutor(max(1, workers))
    try:
        for group in groups:
            waiting.append((group, [pool.submit(read, clip) for clip in group.clips]))
            if len(waiting) > _GROUPS_AHEAD:
                ready, futures = waiting.popleft()
                yield ready, [future.result() for future in futures]
        for ready, futures in waiting:
            yield ready, [future.result() for future in futures]
    finally:
        pool.shutdown(cancel_futures=True)


def sample(sampler: Sampler, group: Group, true: Sequence[np.ndarray], objects: int) -> list[np.ndarray]:
    """The videos (F H W 3, uint8) of a group, from frame 0 of the true ones; each clip has `objects` objects."""
    boxes, phrases = [], []
    for clip in group.clips:
        absent = objects - len(clip.phrases)
        boxes.append([[*row, *[None] * absent] for row in clip.boxes])
        phrases.append([*clip.phrases, *[""] * absent])
    return sampler(
        [clip.prompt for clip in group.clips],
        [PIL.Image.fromarray(frames[0]) for frames in true],
        boxes,
        phrases,
        [clip_generator(group.seed, clip.sequence) for clip in group.clips],
    )
