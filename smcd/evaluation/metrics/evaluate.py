"""Score a folder of videos against the truth: everything that the report shows."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smcd.evaluation.metrics.baselines import TrueVideos, baseline_table
from smcd.evaluation.metrics.columns import Column, fvd_column
from smcd.evaluation.metrics.frechet import frechet_distance, fvd_name
from smcd.evaluation.metrics.manifest import Clip, Manifest, frames_sha256
from smcd.evaluation.metrics.scoring import Instruments, Options, Scored, load_instruments, make_reference, score_clip
from smcd.evaluation.metrics.summary import Row, Statistic, over_time, statistic_of, summarize
from smcd.evaluation.metrics.truth import Truth, check_frames, read_truth
from smcd.evaluation.metrics.videos import Videos, find_videos, require_all, seeds_of
from smcd.runtime.errors import InputError

logger = logging.getLogger(__name__)
Progress = Callable[[Iterable[Any], str], Iterable[Any]]


@dataclass(frozen=True)
class Evaluation:
    """The outcome, from which the report is written.

    Attributes:
        manifest: of the truth, whole; `sequences` are the clips of it that were scored.
        rows: per seed and clip, see `smcd.evaluation.metrics.summary`.
        tracked: (seed, sequence) -> boxes F N 4 in pixels.
        summary: the table.
        fvd: FVD's column, where it was measured.
        baselines: see `smcd.evaluation.metrics.baselines`.
        lines: label -> mean IoU per frame.
        generator: what made the videos (weights, settings), where that is known.
    """

    name: str
    manifest: Manifest
    sequences: list[str]
    predictions: dict[int | None, Videos]
    truth: Videos | None
    rows: list[Row]
    tracked: dict[tuple[int | None, str], np.ndarray]
    summary: dict[str, Statistic]
    fvd: Column | None
    baselines: list[dict[str, Any]]
    lines: dict[str, list[float | None]]
    models: dict[str, dict[str, str]]
    left_out: dict[str, str]
    generator: dict[str, Any] | None = None


def evaluate(
    predictions: Path,
    truth: Path,
    options: Options,
    allow_partial: bool = False,
    name: str | None = None,
    progress: Progress = lambda items, _: items,
) -> Evaluation:
    """Score a folder of videos.

    Args:
        predictions: clips, or folders `seed_33`, `seed_34`, ... of clips; see `smcd.evaluation.metrics.videos`.
        truth: folder or manifest; see `smcd.evaluation.metrics.truth`.
        allow_partial: score the clips that are there where others are missing.
        name: the method's, in tables; otherwise the folder's.
        progress: wraps a list of clips and what is done with them, such as a progress bar.

    Raises:
        InputError: see `read_truth`, `require_all`, `Videos.read`, `load_instruments`; fewer than 2 clips for FVD.
    """
    roots = seeds_of(predictions)
    target = read_truth(truth, next(iter(roots.values())))
    names = [clip.sequence for clip in target.manifest.clips]
    videos = {seed: find_videos(root, "pred", names) for seed, root in roots.items()}
    present = [set(require_all(found, names, allow_partial)) for found in videos.values()]
    names = [sequence for sequence in names if all(sequence in found for found in present)]
    if not names:
        raise InputError(f"{predictions}: no clip has a video of every seed")
    target = target.for_clips(names)
    clips = [clip for clip in target.manifest.clips if clip.sequence in set(names)]
    fvd = _fvd(clips) if options.fvd_weights is not None and target.videos else None
    tools = load_instruments(options)
    if tools.i3d and fvd is None:
        tools.i3d, tools.left_out["i3d"] = None, "the true videos are not at hand"
    return _evaluate(target, clips, videos, tools, fvd, name or predictions.absolute().name, progress)


def _fvd(clips: list[Clip]) -> Column:
    """FVD's column; raises an InputError where it cannot be measured."""
    if len(clips) < 2:
        raise InputError(f"FVD needs at least 2 clips; there is {len(clips)}: leave out --fvd_weights")
    counts = sorted({len(clip.frames) for clip in clips})
    if len(counts) > 1:
        raise InputError(f"FVD needs clips of one length; there are {counts} frames: leave out --fvd_weights")
    return fvd_column(fvd_name(counts[0]), len(clips))


def _evaluate(
    target: Truth,
    clips: list[Clip],
    videos: dict[int | None, Videos],
    tools: Instruments,
    fvd: Column | None,
    name: str,
    progress: Progress,
) -> Evaluation:
    manifest = target.manifest
    true = _measure_truth(target, clips, tools, progress)
    rows: list[Row] = []
    scores: dict[int | None, list[Scored]] = {}
    tracked = {}
    for seed, found in videos.items():
        label = "scoring" if seed is None else f"scoring seed {seed}"
        for clip in progress(clips, label):
            frames = found.read(clip.sequence, (len(clip.frames), manifest.height, manifest.width))
            scored = score_clip(frames, clip, true.references.get(clip.sequence), tools)
            facts = true.facts(clip.sequence, clip, manifest.height, manifest.width)
            identity = {"sequence": clip.sequence, "seed": seed, "classes": clip.classes}
            rows.append(identity | scored.row | facts | {"frames_sha256": frames_sha256(frames)})
            scores.setdefault(seed, []).append(scored)
            if scored.boxes is not None:
                tracked[seed, clip.sequence] = scored.boxes
    summary = summarize(rows)
    if fvd is not None:
        summary[fvd.name] = _fvd_statistic(scores, true, len(clips))
    lines = {"predictions": over_time(row["iou"] for row in rows if "iou" in row)} if tracked else {}
    return Evaluation(
        name=name,
        manifest=manifest,
        sequences=[clip.sequence for clip in clips],
        predictions=videos,
        truth=target.videos,
        rows=rows,
        tracked=tracked,
        summary=summary,
        fvd=fvd,
        baselines=baseline_table(true, fvd),
        lines=lines | (true.over_time() if lines else {}),
        models=tools.describe(),
        left_out=_left_out(tools, target, clips),
    )


def _measure_truth(target: Truth, clips: list[Clip], tools: Instruments, progress: Progress) -> TrueVideos:
    true, manifest = TrueVideos(), target.manifest
    for clip in clips:
        true.add_boxes(clip, manifest.height, manifest.width)
    if target.videos is not None:
        for clip in progress(clips, "true videos and baselines"):
            frames = target.videos.read(clip.sequence, (len(clip.frames), manifest.height, manifest.width))
            check_frames(target, clip.sequence, frames_sha256(frames))
            true.add_video(clip, frames, make_reference(frames, tools), tools)
    return true


def _fvd_statistic(scores: dict[int | None, list[Scored]], true: TrueVideos, clips: int) -> Statistic:
    """FVD of each seed. No interval over clips: resampled sets repeat clips, which moves the distance itself."""
    features = np.stack(list(true.features.values()))
    values = [
        frechet_distance(np.stack([scored.features for scored in group if scored.features is not None]), features)
        for group in scores.values()
    ]
    return statistic_of(values, None, clips)


def _left_out(tools: Instruments, target: Truth, clips: list[Clip]) -> dict[str, str]:
    """What the report lacks, and why."""
    reasons = dict(tools.left_out)
    if target.videos is None:
        reasons |= dict.fromkeys(("fff", "fidelity", "i3d"), "the true videos are not at hand")
    if tools.clip and not any(clip.prompt for clip in clips):
        reasons["clip_sim"] = "no clip has a prompt"
    if tools.tracker and not any(clip.phrases for clip in clips):
        reasons["tracker"] = "no clip has boxes"
    if not any(name for clip in clips for name in clip.classes):
        reasons["classes"] = "no clip has a class"
    return reasons
