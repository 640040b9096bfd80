"""Sampling and writing the videos of an evaluation, in groups that are always the same."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
import PIL.Image
from tqdm import tqdm

from smcd.evaluation.generate.clip_folders import ClipFolders, write_clip
from smcd.evaluation.generate.dataset_clips import EvaluationClips
from smcd.evaluation.metrics.manifest import Clip
from smcd.sampler import Sampler, clip_generator

_GROUPS_AHEAD = 2  # that are read while others are sampled


@dataclass(frozen=True)
class Group:
    """Clips that are sampled together: always the same ones, so that the videos are always the same."""

    seed: int
    clips: Sequence[Clip]
    missing: set[str]  # the clips that are not written yet


def missing_groups(clips: Sequence[Clip], seeds: Sequence[int], size: int, folders: ClipFolders) -> list[Group]:
    """Groups of `size` clips that are not complete yet, for each seed."""
    groups = []
    for seed in seeds:
        for first in range(0, len(clips), size):
            some = clips[first : first + size]
            if missing := {clip.sequence for clip in some if not folders.is_done(seed, clip.sequence)}:
                groups.append(Group(seed, some, missing))
    return groups


def sample_groups(
    groups: Sequence[Group],
    sampler: Sampler,
    clips: EvaluationClips,
    folders: ClipFolders,
    fps: float,
    num_workers: int,
    show_bar: bool,
) -> None:
    """Sample and write groups; a group's clips are written while the next group is sampled."""
    objects, writing = clips.objects, list[Future]()
    total = sum(len(group.missing) for group in groups)
    with (
        ThreadPoolExecutor(max(len(group.clips) for group in groups)) as pool,
        tqdm(total=total, desc="sampling", unit="clip", disable=not show_bar) as bar,
    ):
        for group, true in _read_ahead(groups, clips, num_workers):
            videos = sample(sampler, group, true, objects)
            bar.update(len([future.result() for future in writing]))  # of the group before; raises what went wrong
            writing = [
                pool.submit(write_clip, folders.folder(group.seed, clip.sequence), clip, made, given, objects, fps)
                for clip, made, given in zip(group.clips, videos, true, strict=True)
                if clip.sequence in group.missing
            ]
        bar.update(len([future.result() for future in writing]))


def _read_ahead(
    groups: Sequence[Group], clips: EvaluationClips, workers: int
) -> Iterator[tuple[Group, list[np.ndarray]]]:
    """The groups with their true frames F H W 3, which threads read while earlier groups are at work."""
    with ThreadPoolExecutor(max(1, workers)) as pool:
        begun = ((group, pool.map(clips.frames, group.clips)) for group in groups)
        waiting = deque(islice(begun, _GROUPS_AHEAD))
        while waiting:
            waiting.extend(islice(begun, 1))
            group, true = waiting.popleft()
            yield group, list(true)


def sample(sampler: Sampler, group: Group, true: Sequence[np.ndarray], objects: int) -> list[np.ndarray]:
    """The videos (F H W 3, uint8) of a group, from frame 0 of the true ones; each clip has `objects` objects."""
    absent = [objects - len(clip.phrases) for clip in group.clips]
    return sampler(
        [clip.prompt for clip in group.clips],
        [PIL.Image.fromarray(frames[0]) for frames in true],
        [[[*row, *[None] * n] for row in clip.boxes] for clip, n in zip(group.clips, absent, strict=True)],
        [[*clip.phrases, *[""] * n] for clip, n in zip(group.clips, absent, strict=True)],
        [clip_generator(group.seed, clip.sequence) for clip in group.clips],
    )
