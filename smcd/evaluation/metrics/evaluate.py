"""Score a folder of videos against the truth: everything that the report shows."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from smcd.evaluation.metrics.baselines import TrueVideos, baseline_table, measure_truth
from smcd.evaluation.metrics.columns import BY_NAME, Column
from smcd.evaluation.metrics.frechet import frechet_distance
from smcd.evaluation.metrics.manifest import Clip, Manifest, frames_sha256
from smcd.evaluation.metrics.scoring import Instruments, Options, fvd_of, load_instruments, score_clip
from smcd.evaluation.metrics.summary import Row, Statistic, over_time, statistic_of, summarize
from smcd.evaluation.metrics.truth import Truth, read_truth
from smcd.evaluation.metrics.videos import Videos, find_videos, require_all, seeds_of
from smcd.runtime.errors import InputError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """The outcome, from which the report is written."""

    name: str  # what the method is called in tables
    manifest: Manifest  # all clips of the truth
    sequences: list[str]  # the clips that were scored
    predictions: dict[int | None, Videos]  # by seed
    truth: Truth
    rows: list[Row]  # per seed and clip, see `summary`
    tracked: dict[tuple[int | None, str], np.ndarray]  # (seed, sequence) -> boxes F N 4 in pixels
    summary: dict[str, Statistic]
    columns: list[Column]  # of the summary
    baselines: list[dict[str, Any]]  # see `baselines.baseline_table`
    lines: dict[str, list[float | None]]  # label -> mean IoU per frame
    models: dict[str, dict[str, str]]  # source and hash of each model that measured
    left_out: dict[str, str]  # what the report lacks, and why
    generator: dict[str, Any] | None  # what made the videos (weights, settings), if that is known


def evaluate(
    predictions: Path,
    truth: Path,
    options: Options,
    allow_partial: bool = False,
    name: str | None = None,
    generator: dict[str, Any] | None = None,
) -> Evaluation:
    """Score a folder of videos.

    Args:
        predictions: clips, or folders `seed_33`, `seed_34`, ... of clips; see `find_videos`.
        truth: see `read_truth`.
        allow_partial: score the clips that are there where others are missing.
        name: what the method is called in tables; otherwise the name of the folder.

    Raises:
        InputError: see `read_truth`, `require_all`, `Videos.read`, `load_instruments`; fewer than 2 clips for FVD.
    """
    roots = seeds_of(predictions)
    target = read_truth(truth, next(iter(roots.values())))
    names = [clip.sequence for clip in target.manifest.clips]
    videos = {seed: find_videos(root, "pred", names) for seed, root in roots.items()}
    present = [set(require_all(found, names, allow_partial)) for found in videos.values()]
    clips = [clip for clip in target.manifest.clips if all(clip.sequence in found for found in present)]
    if not clips:
        raise InputError(f"{predictions}: no clip has a video of every seed")
    if target.videos is not None and any(clip.sequence not in target.videos.sources for clip in clips):
        logger.warning(f"{target.videos.root}: true videos are missing; what needs them is left out")
        target = Truth(target.manifest, None)
    fvd = fvd_of(clips) if options.fvd_weights is not None and target.videos else None
    tools = load_instruments(options)
    if fvd is None:
        tools.i3d = None
    true = measure_truth(target, clips, tools)
    rows, tracked, features = _score_all(target, clips, videos, tools, true)
    summary, known = summarize(rows), BY_NAME
    if fvd is not None:  # no interval over clips: resampled sets repeat clips, which moves the distance itself
        distances = [frechet_distance(np.stack(some), np.stack(true.features)) for some in features]
        summary[fvd.name], known = statistic_of(distances, None, len(clips)), BY_NAME | {fvd.name: fvd}
    return Evaluation(
        name=name or predictions.absolute().name,
        manifest=target.manifest,
        sequences=[clip.sequence for clip in clips],
        predictions=videos,
        truth=target,
        rows=rows,
        tracked=tracked,
        summary=summary,
        columns=[known[column] for column in summary],
        baselines=baseline_table(true, fvd),
        lines={"predictions": over_time(rows)} | true.over_time() if tracked else {},
        models=tools.describe(),
        left_out=_left_out(tools, target, clips),
        generator=generator,
    )


def _score_all(
    target: Truth, clips: Sequence[Clip], videos: dict[int | None, Videos], tools: Instruments, true: TrueVideos
) -> tuple[list[Row], dict[tuple[int | None, str], np.ndarray], list[list[np.ndarray]]]:
    """Rows and tracked boxes by seed and clip, and I3D's features of each seed."""
    rows: list[Row] = []
    tracked: dict[tuple[int | None, str], np.ndarray] = {}
    features: list[list[np.ndarray]] = []
    for seed, found in videos.items():
        features.append([])
        for clip in tqdm(clips, "scoring" if seed is None else f"scoring seed {seed}", unit="clip"):
            frames = found.read(clip.sequence, target.shape(clip))
            row, boxes, seen = score_clip(frames, clip, true.references.get(clip.sequence), tools)
            identity = {"sequence": clip.sequence, "seed": seed, "classes": clip.classes}
            facts = true.facts(clip.sequence) | {"frames_sha256": frames_sha256(frames)}
            rows.append(identity | row | facts)
            if boxes is not None:
                tracked[seed, clip.sequence] = boxes
            if seen is not None:
                features[-1].append(seen)
    return rows, tracked, features


def _left_out(tools: Instruments, target: Truth, clips: Sequence[Clip]) -> dict[str, str]:
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
