"""Baselines that catch a broken evaluation, and without which its numbers mean little.

A video that stands still scores a high AO where objects move little: AO proves something only beside these rows.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tqdm import tqdm

from smcd.evaluation.metrics import scoring
from smcd.evaluation.metrics.columns import COLUMNS, FIDELITY, GROUNDING, Column
from smcd.evaluation.metrics.frechet import frechet_distance
from smcd.evaluation.metrics.manifest import Clip
from smcd.evaluation.metrics.similarity import cosine
from smcd.evaluation.metrics.summary import Row, over_time, pooled
from smcd.evaluation.metrics.truth import Truth
from smcd.tracking.grounding import iou, static, success

CEILING, STATIC = "true video, tracked", "first frame repeated, from the boxes alone"  # rows shown beside results
_RANDOM_PAIRS = 20_000
Values = dict[str, float]


@dataclass
class TrueVideos:
    """What is measured on the true videos and boxes."""

    rows: dict[str, dict[str, Row]] = field(default_factory=lambda: defaultdict(dict))  # variant -> sequence -> row
    references: dict[str, scoring.Reference] = field(default_factory=dict)  # by sequence
    features: list[np.ndarray] = field(default_factory=list)  # what I3D makes of the true videos ...
    reversed_features: list[np.ndarray] = field(default_factory=list)  # ... and of the same reversed

    def add(self, variant: str, clip: Clip, row: Row) -> None:
        """Take in what a variant of the truth scores."""
        self.rows[variant][clip.sequence] = {"sequence": clip.sequence, "classes": clip.classes, **row}

    def facts(self, sequence: str) -> Row:
        """What stands in a clip's row beside its scores: the static AO, and the AO of the true video, tracked."""
        variants = {"static_ao": "static boxes", "ceiling_ao": "true video"}
        rows = {name: self.rows[variant].get(sequence, {}) for name, variant in variants.items()}
        return {name: row["ao"] for name, row in rows.items() if "ao" in row}

    def over_time(self) -> dict[str, list[float | None]]:
        """Mean IoU per frame of the lines that stand beside those of the predictions."""
        shown = {"true video": CEILING, "static boxes": "first frame repeated (boxes)"}
        lines = {label: over_time(self.rows[name].values()) for name, label in shown.items()}
        return {label: line for label, line in lines.items() if line}

    def means(self, variant: str, columns: Iterable[Column] = COLUMNS) -> Values:
        """Pooled values of all columns that a variant has."""
        values = {column.name: pooled(self.rows[variant].values(), column) for column in columns}
        return {name: value for name, value in values.items() if value is not None}


def measure_truth(truth: Truth, clips: Sequence[Clip], tools: scoring.Instruments) -> TrueVideos:
    """Measure the boxes, and the videos if they are at hand. Raises an InputError for frames that do not fit."""
    true, size = TrueVideos(), (truth.manifest.height, truth.manifest.width)
    for clip in tqdm(clips, "true videos and baselines", unit="clip", disable=truth.videos is None):
        if clip.phrases:
            boxes = clip.pixel_boxes(*size)
            true.add("true boxes", clip, scoring.grounding_row(boxes, clip, *size))
            true.add("static boxes", clip, scoring.grounding_row(static(boxes), clip, *size))
        if truth.videos is None:
            continue
        frames = truth.frames(clip)
        still, back = np.repeat(frames[:1], len(frames), axis=0), frames[::-1]
        reference = true.references[clip.sequence] = scoring.make_reference(frames, clip.prompt, tools)
        row, _, features = scoring.score_clip(frames, clip, reference, tools)
        true.add("true video", clip, row)
        true.add("reversed", clip, scoring.track_clip(back, clip, tools.tracker)[0])
        pictures = scoring.score_pictures(still[:1], "", reference, tools)
        true.add("static video", clip, scoring.track_clip(still, clip, tools.tracker)[0] | pictures)
        if features is not None and tools.i3d:
            true.features.append(features)
            true.reversed_features.append(tools.i3d.features(back))
    return true


def baseline_table(true: TrueVideos, fvd: Column | None) -> list[dict[str, Any]]:
    """The rows of the report: name, what is expected, the values, and whether they are as expected (None: no rule)."""
    rows: list[dict[str, Any]] = []

    def add(name: str, expect: str, values: Values, checks: Sequence[bool] = ()) -> None:
        if values:
            as_expected = all(checks) if checks else None
            rows.append({"name": name, "expect": expect, "values": values, "as_expected": as_expected})

    boxes, video, static_boxes = (true.means(name) for name in ("true boxes", "true video", "static boxes"))
    still, back = true.means("static video"), true.means("reversed", GROUNDING)
    itself = {column.name: video.pop(column.name) for column in FIDELITY if column.name in video}
    own, halves, back_fvd = _fvd_values(true, fvd)
    random, prompts, images = _random_boxes(), _shuffled_prompts(true), _shuffled_images(true)
    add("true boxes as prediction", "AO = SR = 1", boxes, [boxes.get(c.name, 0) > 1 - 1e-9 for c in GROUNDING])
    add(CEILING, "the tracker's ceiling; CLIP-SIM of real videos", video)
    add(STATIC, "what a video that stands still scores", static_boxes)
    near = [abs(still["ao"] - static_boxes["ao"]) < 0.1] if "ao" in still else []
    expect = "about the AO of the row above; FFF = 1"
    add("first frame repeated, tracked", expect, still, near + _perfect(still))
    expect = "AO about 0.10, SR50 about 0.02 (sides 0.1 to 0.6)"
    checks = [abs(random["ao"] - 0.10) < 0.02, abs(random["sr50"] - 0.02) < 0.01]
    add("random boxes against random boxes", expect, random, checks)
    checks = [value < 1e-6 for value in own.values()] + _perfect(itself)
    add("true videos against themselves", "FVD < 1e-6, FFF = 1", itself | own, checks)
    add("half of the true videos against the other half", "FVD's noise floor at half the clips", halves)
    checks = _less(back, video, "ao") + [value > 1e-6 for value in back_fvd.values()]
    add("true videos reversed", "worse than the true videos (where they move)", back | back_fvd, checks)
    expect = "CLIP-SIM lower than that of the true videos"
    add("prompts shuffled", expect, prompts, _less(prompts, video, "clip_sim"))
    add("images shuffled", "FFF lower than 1", images, [value < 1 for value in images.values()])
    return rows


def _perfect(values: Values) -> list[bool]:
    return [value > 1 - 1e-4 for name, value in values.items() if name.startswith("fff")]


def _less(a: Values, b: Values, name: str) -> list[bool]:
    return [a[name] < b[name]] if name in a and name in b else []


def _fvd_values(true: TrueVideos, fvd: Column | None) -> tuple[Values, Values, Values]:
    """FVD of the true videos with themselves, of half with half, and with the same reversed."""
    if fvd is None:
        return {}, {}, {}
    features, back = np.stack(true.features), np.stack(true.reversed_features)
    halves = {fvd.name: frechet_distance(features[::2], features[1::2])} if len(features) >= 4 else {}
    return {fvd.name: frechet_distance(features, features)}, halves, {fvd.name: frechet_distance(features, back)}


def _random_boxes() -> Values:
    """Boxes with sides uniform in 0.1..0.6, anywhere inside the frame."""
    rng = np.random.default_rng(0)
    sides = rng.uniform(0.1, 0.6, (2, _RANDOM_PAIRS, 2))
    corners = rng.uniform(0, 1, sides.shape) * (1 - sides)
    first, second = np.concatenate([corners, corners + sides], axis=-1)
    return success(iou(first, second, 1, 1))


def _shuffled_prompts(true: TrueVideos) -> Values:
    """CLIP-SIM of every true video with the next clip's prompt."""
    found = [reference for reference in true.references.values() if "text" in reference]
    if len({reference["text"].tobytes() for reference in found}) < 2:
        return {}
    return {"clip_sim": _mean_cosine([each["clip"] for each in found], [each["text"] for each in found])}


def _shuffled_images(true: TrueVideos) -> Values:
    """FFF of every true first frame with the next clip's."""
    values = {}
    for kind in ("clip", "dino"):
        first = [reference[kind][:1] for reference in true.references.values() if kind in reference]
        if len(first) > 1:
            values[f"fff_{kind}"] = _mean_cosine(first, first)
    return values


def _mean_cosine(embeddings: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> float:
    """Mean cosine of each clip's embeddings with those of the next clip."""
    return float(np.mean([cosine(a, b) for a, b in zip(embeddings, [*others[1:], others[0]], strict=True)]))
