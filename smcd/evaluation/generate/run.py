"""`inference_eval.py`: plan, sample, write, score."""

import hashlib
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
from accelerate import PartialState
from torch import nn
from tqdm import tqdm

from smcd.config import EvaluationConfig
from smcd.evaluation.generate.clips import EvaluationClips
from smcd.evaluation.generate.output import Output, write_clip
from smcd.evaluation.generate.plan import complete
from smcd.evaluation.generate.scored import check_scoring, write_scores
from smcd.evaluation.metrics.manifest import Clip
from smcd.runtime.hashes import weights_hash
from smcd.runtime.processes import in_main
from smcd.sampler import Sampler, clip_generator, on_device

logger = logging.getLogger(__name__)
_GROUPS_AHEAD = 2  # that are read while others are sampled


class Group(NamedTuple):
    """Clips that are sampled together: always the same ones, so that the videos are always the same.

    `missing` are those that are not written yet.
    """

    seed: int
    clips: list[Clip]
    missing: set[str]


class Plan(NamedTuple):
    """What is there, and what is to be done."""

    output: Output
    groups: list[Group]


def run_evaluation(config: EvaluationConfig) -> None:
    """Make the videos that `config` asks for, in `output_dir`, and score them; go on where an earlier run stopped.

    With several processes the videos are shared between them; the first one scores them at the end.

    Raises:
        InputError: anything that does not fit: options, data, weights, or what lies in `output_dir`.
    """
    config = complete(config)
    data = cache(lambda: EvaluationClips(config))  # read once, and only by processes that need it
    with on_device() as state:
        plan = in_main(state, lambda: _make_plan(config, data()))
        if plan.groups:
            _sample_all(config, plan, data, state)
            state.wait_for_everyone()
        device, is_main = state.device, state.is_main_process
    if is_main and config.report:
        write_scores(config, plan.output.root, device)


def _make_plan(config: EvaluationConfig, data: EvaluationClips) -> Plan:
    """Read the data, look at the output folder, and list what is missing. Writes nothing."""
    manifest = data.manifest(config.num_workers)
    if config.report:
        check_scoring(config, len(manifest.clips))
    output = Output(config, manifest)
    groups = []
    for seed in config.seeds:
        for first in range(0, len(manifest.clips), config.batch_size):
            clips = manifest.clips[first : first + config.batch_size]
            missing = {clip.sequence for clip in clips if not output.is_done(seed, clip.sequence)}
            groups.append(Group(seed, clips, missing))
    total, left = len(manifest.clips) * len(config.seeds), sum(len(group.missing) for group in groups)
    done = f", of which {total - left} are there already" if left < total else ""
    logger.info(f"{manifest.dataset}: {len(manifest.clips)} clips, {total} videos{done}")
    return Plan(output, [group for group in groups if group.missing])


def _sample_all(config: EvaluationConfig, plan: Plan, data: Callable[[], EvaluationClips], state: PartialState) -> None:
    """Sample and write this process's share of the groups."""
    mine = plan.groups[state.process_index :: state.num_processes]
    sampler = Sampler(config, state.device) if mine else None
    if sampler is not None:
        sampler.check_paths("an image", "boxes")

    def begin() -> None:
        if sampler is not None:  # the main process always has a share
            plan.output.begin(config, _hash_of(sampler))

    in_main(state, begin)
    if sampler is None:
        return  # more processes than groups
    truth = data()
    missing = sum(len(group.missing) for group in mine)
    writing: list[Future] = []
    with (
        ThreadPoolExecutor(config.batch_size) as pool,  # the clips of a group, while the next group is sampled
        tqdm(total=missing, desc="sampling", unit="clip", disable=not state.is_main_process) as bar,
    ):
        for group, true in _read_ahead(mine, truth.frames, config.num_workers):
            videos = sample(sampler, group, true, truth.objects)
            _wait_for(writing, bar)
            for clip, frames, given in zip(group.clips, videos, true, strict=True):
                if clip.sequence in group.missing:
                    folder = plan.output.folder(group.seed, clip.sequence)
                    writing.append(pool.submit(write_clip, folder, clip, frames, given, truth.objects, config.fps))
        _wait_for(writing, bar)


def _wait_for(writing: list[Future], bar: Any) -> None:
    """Wait until these clips are written; raises what went wrong."""
    while writing:
        writing.pop().result()
        bar.update()


def _hash_of(sampler: Sampler) -> str:
    """SHA-256 of all weights, as they are loaded."""
    parts = {name: part for name, part in sampler.pipe.components.items() if isinstance(part, nn.Module)}
    hashes = "".join(f"{name} {weights_hash(part.state_dict())}\n" for name, part in sorted(parts.items()))
    return hashlib.sha256(hashes.encode()).hexdigest()


def _read_ahead(
    groups: Sequence[Group], read: Callable[[Clip], np.ndarray], workers: int
) -> Iterator[tuple[Group, list[np.ndarray]]]:
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
