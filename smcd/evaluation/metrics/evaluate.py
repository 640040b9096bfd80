"""Score a folder of videos against the truth: everything that the report shows."""

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
from smcd.evaluation.metrics.scoring import Instruments, Options, Scored, fvd_of, load_instruments, score_clip
from smcd.evaluation.metrics.summary import Row, Statistic, over_time, statistic_of, summarize
from smcd.evaluation.metrics.truth import Truth, read_truth
from smcd.evaluation.metrics.videos import Videos, find_videos, require_all, seeds_of
from smcd.runtime.errors import InputError

_NO_TRUE_VIDEOS = "the true videos are not at hand"


@dataclass(frozen=True)
class Evaluation:
    """The outcome, from which the report is written.

    Attributes:
        name: what the method is called in tables.
        manifest: all clips of the truth; `sequences` are those that were scored.
        rows: per seed and clip, see `smcd.evaluation.metrics.summary`.
        tracked: (seed, sequence) -> boxes F N 4 in pixels.
        summary: the table.
        fvd: the column of FVD, if it was measured.
        baselines: see `smcd.evaluation.metrics.baselines`.
        lines: label -> mean IoU per frame.
        models: source and hash of each model that measured.
        left_out: what the report lacks, and why.
        generator: what made the videos (weights, settings), if that is known.
    """

    name: str
    manifest: Manifest
    sequences: list[str]
    predictions: dict[int | None, Videos]
    truth: Truth
    rows: list[Row]
    tracked: dict[tuple[int | None, str], np.ndarray]
    summary: dict[str, Statistic]
    fvd: Column | None
    baselines: list[dict[str, Any]]
    lines: dict[str, list[float | None]]
    models: dict[str, dict[str, str]]
    left_out: dict[str, str]
    generator: dict[str, Any] | None

    @property
    def columns(self) -> list[Column]:
        """The columns of the summary."""
        known = BY_NAME if self.fvd is None else BY_NAME | {self.fvd.name: self.fvd}
        return [known[name] for name in self.summary]


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
        predictions: clips, or folders `seed_33`, `seed_34`, ... of clips; see `smcd.evaluation.metrics.videos`.
        truth: folder or manifest; see `smcd.evaluation.metrics.truth`.
        allow_partial: score the clips that are there where others are missing.
        name: what the method is called in tables; otherwise the name of the folder.
        generator: what made the videos, for the report.

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
    target = target.for_clips([clip.sequence for clip in clips])
    fvd = fvd_of(clips) if options.fvd_weights is not None and target.videos else None
    tools = load_instruments(options)
    if fvd is None:
        tools.i3d = None
    true = measure_truth(target, clips, tools)
    rows, tracked, features = _score_all(target, clips, videos, tools, true)
    summary = summarize(rows)
    if fvd is not None:
        summary[fvd.name] = _fvd_statistic(features, true, len(clips))
    return Evaluation(
        name=name or predictions.absolute().name,
        manifest=target.manifest,
        sequences=[clip.sequence for clip in clips],
        predictions=videos,
        truth=target,
        rows=rows,
        tracked=tracked,
        summary=summary,
        fvd=fvd,
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
            scored: Scored = score_clip(frames, clip, true.references.get(clip.sequence), tools)
            identity = {"sequence": clip.sequence, "seed": seed, "classes": clip.classes}
            facts = true.facts(clip.sequence) | {"frames_sha256": frames_sha256(frames)}
            rows.append(identity | scored.row | facts)
            if scored.boxes is not None:
                tracked[seed, clip.sequence] = scored.boxes
            if scored.features is not None:
                features[-1].append(scored.features)
    return rows, tracked, features


def _fvd_statistic(features: list[list[np.ndarray]], true: TrueVideos, clips: int) -> Statistic:
    """FVD of each seed. No interval over clips: resampled sets repeat clips, which moves the distance itself."""
    truth = np.stack(list(true.features.values()))
    return statistic_of([frechet_distance(np.stack(some), truth) for some in features], None, clips)


def _left_out(tools: Instruments, target: Truth, clips: Sequence[Clip]) -> dict[str, str]:
    """What the report lacks, and why."""
    reasons = dict(tools.left_out)
    if target.videos is None:
        reasons |= dict.fromkeys(("fff", "fidelity", "i3d"), _NO_TRUE_VIDEOS)
    if tools.clip and not any(clip.prompt for clip in clips):
        reasons["clip_sim"] = "no clip has a prompt"
    if tools.tracker and not any(clip.phrases for clip in clips):
        reasons["tracker"] = "no clip has boxes"
    if not any(name for clip in clips for name in clip.classes):
        reasons["classes"] = "no clip has a class"
    return reasons
