"""Baselines that catch a broken evaluation, and without which its numbers mean little.

A video that stands still scores a high AO where objects move little: AO proves something only beside these rows.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tqdm import tqdm

from smcd.evaluation.metrics.columns import COLUMNS, FIDELITY, GROUNDING, Column
from smcd.evaluation.metrics.frechet import frechet_distance
from smcd.evaluation.metrics.manifest import Clip
from smcd.evaluation.metrics.scoring import (
    Instruments,
    Reference,
    grounding_row,
    make_reference,
    score_clip,
    score_pictures,
    track_clip,
)
from smcd.evaluation.metrics.similarity import cosine
from smcd.evaluation.metrics.summary import Row, over_time, pooled
from smcd.evaluation.metrics.truth import Truth
from smcd.tracking.grounding import iou, static, success

CEILING, STATIC = "true video, tracked", "first frame repeated, from the boxes alone"  # rows shown beside results
_RANDOM_PAIRS = 20_000
Values = dict[str, float]


@dataclass
class TrueVideos:
    """What is measured on the true videos and boxes.

    Attributes:
        rows: variant -> sequence -> row.
        references: sequence -> what predictions are compared with.
        features, reversed_features: sequence -> what I3D makes of the true video, and of the same reversed.
    """

    rows: dict[str, dict[str, Row]] = field(default_factory=dict)
    references: dict[str, Reference] = field(default_factory=dict)
    features: dict[str, np.ndarray] = field(default_factory=dict)
    reversed_features: dict[str, np.ndarray] = field(default_factory=dict)

    def add_boxes(self, clip: Clip, height: int, width: int) -> None:
        """What the boxes alone say: the true ones as prediction, and those of frame 0 for all frames."""
        if clip.phrases:
            truth = clip.pixel_boxes(height, width)
            self._row("true boxes", clip, grounding_row(truth, clip, height, width))
            self._row("static boxes", clip, grounding_row(static(truth), clip, height, width))

    def add_video(self, clip: Clip, frames: np.ndarray, tools: Instruments) -> None:
        """What the models say about the true video F H W 3, the same reversed, and its first frame repeated."""
        reference = self.references[clip.sequence] = make_reference(frames, clip.prompt, tools)
        scored = score_clip(frames, clip, reference, tools)
        self._row("true video", clip, scored.row)
        if scored.features is not None and tools.i3d:
            self.features[clip.sequence] = scored.features
            self.reversed_features[clip.sequence] = tools.i3d.features(frames[::-1])
        still = np.repeat(frames[:1], len(frames), axis=0)
        self._row("reversed", clip, track_clip(frames[::-1], clip, tools.tracker)[0])
        tracked, _ = track_clip(still, clip, tools.tracker)
        self._row("static video", clip, tracked | score_pictures(still[:1], "", reference, tools))

    def _row(self, variant: str, clip: Clip, row: Row) -> None:
        self.rows.setdefault(variant, {})[clip.sequence] = {"sequence": clip.sequence, "classes": clip.classes, **row}

    def facts(self, sequence: str) -> Row:
        """What stands in a clip's row beside its scores: the static AO, and the AO of the true video, tracked."""
        variants = {"static_ao": "static boxes", "ceiling_ao": "true video"}
        found = {name: self.rows.get(variant, {}).get(sequence, {}).get("ao") for name, variant in variants.items()}
        return {name: value for name, value in found.items() if value is not None}

    def over_time(self) -> dict[str, list[float | None]]:
        """Mean IoU per frame of the lines that stand beside those of the predictions."""
        shown = {"true video": CEILING, "static boxes": "first frame repeated (boxes)"}
        lines = {label: over_time(self.rows.get(name, {}).values()) for name, label in shown.items()}
        return {label: line for label, line in lines.items() if line}

    def means(self, variant: str, columns: Iterable[Column] = COLUMNS) -> Values:
        """Pooled values of all columns that a variant has."""
        rows = self.rows.get(variant, {}).values()
        return {column.name: value for column in columns if (value := pooled(rows, column)) is not None}


def measure_truth(truth: Truth, clips: Sequence[Clip], tools: Instruments) -> TrueVideos:
    """Measure the boxes, and the videos if they are at hand. Raises an InputError for frames that do not fit."""
    true = TrueVideos()
    for clip in clips:
        true.add_boxes(clip, truth.manifest.height, truth.manifest.width)
    if truth.videos is not None:
        for clip in tqdm(clips, "true videos and baselines", unit="clip"):
            true.add_video(clip, truth.frames(clip), tools)
    return true


def baseline_table(true: TrueVideos, fvd: Column | None) -> list[dict[str, Any]]:
    """The rows of the report: name, what is expected, the values, and whether they are as expected (None: no rule)."""
    boxes, video, boxes_still = true.means("true boxes"), true.means("true video"), true.means("static boxes")
    still, back = true.means("static video"), true.means("reversed", GROUNDING)
    itself = {column.name: video.pop(column.name) for column in FIDELITY if column.name in video}
    own, halves, back_fvd = _fvd_values(true, fvd)
    random, prompts, images = _random_boxes(), _shuffled_prompts(true), _shuffled_images(true)
    fff = ("fff_clip", "fff_dino")
    near = [abs(still["ao"] - boxes_still["ao"]) < 0.1] if "ao" in still else []
    rows = [
        (
            "true boxes as prediction",
            "AO = SR = 1",
            boxes,
            [boxes[c.name] > 1 - 1e-9 for c in GROUNDING if c.name in boxes],
        ),
        (CEILING, "the tracker's ceiling; CLIP-SIM of real videos", video, []),
        (STATIC, "what a video that stands still scores", boxes_still, []),
        (
            "first frame repeated, tracked",
            "about the AO of the row above; FFF = 1",
            still,
            near + [still[name] > 1 - 1e-4 for name in fff if name in still],
        ),
        (
            "random boxes against random boxes",
            "AO about 0.10, SR50 about 0.02 (sides 0.1 to 0.6)",
            random,
            [abs(random["ao"] - 0.10) < 0.02, abs(random["sr50"] - 0.02) < 0.01],
        ),
        (
            "true videos against themselves",
            "FVD < 1e-6, FFF = 1",
            itself | own,
            [value < 1e-6 for value in own.values()] + [itself[name] > 1 - 1e-4 for name in fff if name in itself],
        ),
        ("half of the true videos against the other half", "FVD's noise floor at half the clips", halves, []),
        (
            "true videos reversed",
            "worse than the true videos (where they move)",
            back | back_fvd,
            _less(back, video, "ao") + [value > 1e-6 for value in back_fvd.values()],
        ),
        (
            "prompts shuffled",
            "CLIP-SIM lower than that of the true videos",
            prompts,
            _less(prompts, video, "clip_sim"),
        ),
        ("images shuffled", "FFF lower than 1", images, [value < 1 for value in images.values()]),
    ]
    return [
        {"name": name, "expect": expect, "values": values, "as_expected": all(checks) if checks else None}
        for name, expect, values, checks in rows
        if values
    ]


def _less(a: Values, b: Values, name: str) -> list[bool]:
    return [a[name] < b[name]] if name in a and name in b else []


def _fvd_values(true: TrueVideos, fvd: Column | None) -> tuple[Values, Values, Values]:
    """FVD of the true videos with themselves, of half with half, and with the same reversed."""
    if fvd is None or len(true.features) < 2:
        return {}, {}, {}
    features, back = np.stack(list(true.features.values())), np.stack(list(true.reversed_features.values()))
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
    pairs = [(found.clip, found.text) for found in true.references.values() if found.text is not None]
    if len({text.tobytes() for _, text in pairs}) < 2:
        return {}
    return {"clip_sim": _mean_cosine([clip for clip, _ in pairs], [text for _, text in pairs])}


def _shuffled_images(true: TrueVideos) -> Values:
    """FFF of every true first frame with the next clip's."""
    values = {}
    for kind in ("clip", "dino") if len(true.references) > 1 else ():
        found = [getattr(reference, kind) for reference in true.references.values()]
        if found[0] is not None:
            first = [embeddings[:1] for embeddings in found]
            values[f"fff_{kind}"] = _mean_cosine(first, first)
    return values


def _mean_cosine(embeddings: Sequence[Any], others: Sequence[np.ndarray]) -> float:
    """Mean cosine of each clip's embeddings with those of the next clip."""
    return float(np.mean([cosine(a, b) for a, b in zip(embeddings, [*others[1:], others[0]], strict=True)]))
