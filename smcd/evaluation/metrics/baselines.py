"""Baselines that catch a broken evaluation, and without which its numbers mean little.

A video that stands still scores a high AO where objects move little: AO proves something only beside these rows.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from smcd.evaluation.metrics.columns import GROUNDING, Column, describe
from smcd.evaluation.metrics.frechet import frechet_distance
from smcd.evaluation.metrics.manifest import Clip
from smcd.evaluation.metrics.scoring import (
    Instruments,
    Reference,
    grounding_row,
    score_clip,
    score_pictures,
    static_ao,
    track_clip,
)
from smcd.evaluation.metrics.similarity import cosine
from smcd.evaluation.metrics.summary import Row, over_time, pooled
from smcd.tracking.grounding import iou, success

_RANDOM_PAIRS = 20_000
Values = dict[str, float]


@dataclass
class TrueVideos:
    """What is measured on the true videos: rows per variant, and what predictions are compared with.

    Attributes:
        rows: variant -> a row per clip.
        references: sequence -> what predictions are compared with.
        features: I3D's of the true videos and of the same reversed, by sequence.
    """

    rows: dict[str, list[Row]] = field(default_factory=dict)
    references: dict[str, Reference] = field(default_factory=dict)
    features: dict[str, np.ndarray] = field(default_factory=dict)
    reversed_features: dict[str, np.ndarray] = field(default_factory=dict)
    texts: dict[str, np.ndarray] = field(default_factory=dict)
    images: dict[str, np.ndarray] = field(default_factory=dict)

    def add_boxes(self, clip: Clip, height: int, width: int) -> None:
        """What the boxes alone say: the true ones as prediction, and those of frame 0 for all frames."""
        if not clip.phrases:
            return
        truth = clip.pixel_boxes(height, width)
        self._row("true boxes", clip, grounding_row(truth, clip, height, width))
        self._row("static boxes", clip, grounding_row(np.repeat(truth[:1], len(truth), 0), clip, height, width))

    def add_video(self, clip: Clip, frames: np.ndarray, reference: Reference, tools: Instruments) -> None:
        """What the models say about the true video, the same reversed, and its first frame repeated."""
        self.references[clip.sequence] = reference
        scored = score_clip(frames, clip, reference, tools)
        self._row("true video", clip, scored.row)
        if scored.features is not None and tools.i3d:
            self.features[clip.sequence] = scored.features
            self.reversed_features[clip.sequence] = tools.i3d.features(frames[::-1])
        still = np.repeat(frames[:1], len(frames), axis=0)
        row = score_pictures(still[:1], "", reference, tools)
        if tools.tracker and clip.phrases:
            self._row("reversed", clip, track_clip(frames[::-1], clip, tools.tracker)[0])
            row |= track_clip(still, clip, tools.tracker)[0]
        self._row("static video", clip, row)
        if tools.clip and clip.prompt:
            self.texts[clip.sequence] = tools.clip.texts([clip.prompt])
            self.images[clip.sequence] = tools.clip.images(frames)

    def _row(self, variant: str, clip: Clip, row: Row) -> None:
        self.rows.setdefault(variant, []).append({"sequence": clip.sequence, "classes": clip.classes, **row})

    def facts(self, sequence: str, clip: Clip, height: int, width: int) -> Row:
        """What a clip's row says beside its own values: the static AO, and the AO of the true video, tracked."""
        ceiling = next((row for row in self.rows.get("true video", ()) if row["sequence"] == sequence), {})
        values = {"static_ao": static_ao(clip, height, width), "ceiling_ao": ceiling.get("ao")}
        return {name: value for name, value in values.items() if value is not None}

    def over_time(self) -> dict[str, list[float | None]]:
        """Mean IoU per frame of the lines beside the predictions' own."""
        shown = {"true video": "true video, tracked", "static boxes": "first frame repeated (boxes)"}
        lines = {
            label: over_time(row["iou"] for row in self.rows.get(name, ()) if "iou" in row)
            for name, label in shown.items()
        }
        return {label: line for label, line in lines.items() if line}


def baseline_table(true: TrueVideos, fvd: Column | None) -> list[dict[str, Any]]:
    """The rows of the report: name, what is expected, the values, and whether they are as expected (None: no rule)."""
    means = {name: _means(rows) for name, rows in true.rows.items()}
    boxes, video = means.get("true boxes", {}), means.get("true video", {})
    static, still = means.get("static boxes", {}), means.get("static video", {})
    back = {name: means.get("reversed", {}).get(name) for name in GROUNDING}
    own, halves, reversed_fvd = _fvd_values(true, fvd)
    itself = {name: value for name, value in video.items() if name in ("fff_clip", "fff_dino", "psnr", "ssim")}
    random = _random_boxes()
    shuffled_prompts, shuffled_images = _shuffled_prompts(true), _shuffled_images(true)
    fidelity = [name for name in ("fff_clip", "fff_dino") if name in still]
    table = [
        _entry(
            "true boxes as prediction", "AO = SR = 1", boxes, _all(boxes, GROUNDING, lambda value: value > 1 - 1e-9)
        ),
        _entry(
            "true video, tracked",
            "the tracker's ceiling; CLIP-SIM of real videos",
            {name: value for name, value in video.items() if name not in itself},
            None,
        ),
        _entry("first frame repeated, from the boxes alone", "what a video that stands still scores", static, None),
        _entry(
            "first frame repeated, tracked",
            "about the AO of the row above; FFF = 1",
            still,
            _both(_near(still, static, "ao", 0.1), _all(still, fidelity, lambda value: value > 1 - 1e-4)),
        ),
        _entry(
            "random boxes against random boxes",
            "AO about 0.10, SR50 about 0.02 (sides 0.1 to 0.6)",
            random,
            abs(random["ao"] - 0.10) < 0.02 and abs(random["sr50"] - 0.02) < 0.01,
        ),
        _entry(
            "true videos against themselves",
            "FVD < 1e-6, FFF = 1",
            itself | own,
            _both(_all(own, own, lambda value: value < 1e-6), _all(itself, fidelity, lambda value: value > 1 - 1e-4)),
        ),
        _entry("half of the true videos against the other half", "FVD's noise floor at half the clips", halves, None),
        _entry(
            "true videos reversed",
            "worse than the true videos (where they move)",
            {name: value for name, value in back.items() if value is not None} | reversed_fvd,
            _both(_less(back, video, "ao"), _all(reversed_fvd, reversed_fvd, lambda value: value > 1e-6)),
        ),
        _entry(
            "prompts shuffled",
            "CLIP-SIM lower than that of the true videos",
            shuffled_prompts,
            _less(shuffled_prompts, video, "clip_sim"),
        ),
        _entry(
            "images shuffled", "FFF lower than 1", shuffled_images, _all(shuffled_images, fidelity, lambda v: v < 1)
        ),
    ]
    return [row for row in table if row["values"]]


def _entry(name: str, expect: str, values: Values, as_expected: bool | None) -> dict[str, Any]:
    return {"name": name, "expect": expect, "values": values, "as_expected": as_expected}


def _means(rows: list[Row]) -> Values:
    """Pooled values of all columns that the rows have."""
    names = {name: None for row in rows for name in row}
    columns = [describe(name) for name in names if name in _TABLE]
    return {column.name: value for column in columns if (value := pooled(rows, column)) is not None}


_TABLE = (*GROUNDING, "track_iou", "track_sr50", "track_sr75", "clip_sim", "fff_clip", "fff_dino", "psnr", "ssim")


def _all(values: dict[str, Any], names: Any, rule: Callable[[float], bool]) -> bool | None:
    present = [values[name] for name in names if values.get(name) is not None]
    return all(map(rule, present)) if present else None


def _both(a: bool | None, b: bool | None) -> bool | None:
    known = [value for value in (a, b) if value is not None]
    return all(known) if known else None


def _near(a: Values, b: Values, name: str, tolerance: float) -> bool | None:
    return abs(a[name] - b[name]) < tolerance if name in a and name in b else None


def _less(a: dict[str, Any], b: Values, name: str) -> bool | None:
    return bool(a[name] < b[name]) if a.get(name) is not None and name in b else None


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
    names = list(true.texts)
    if len({text.tobytes() for text in true.texts.values()}) < 2:
        return {}
    others = [true.texts[name] for name in names[1:] + names[:1]]
    return {"clip_sim": float(np.mean([cosine(true.images[n], o) for n, o in zip(names, others, strict=True)]))}


def _shuffled_images(true: TrueVideos) -> Values:
    """FFF of every true first frame with the next clip's."""
    references = list(true.references.values())
    if len(references) < 2:
        return {}
    pairs = list(zip(references, references[1:] + references[:1], strict=True))
    values = {}
    for kind in ("clip", "dino"):
        if getattr(references[0], kind) is not None:
            values[f"fff_{kind}"] = float(np.mean([cosine(getattr(a, kind), getattr(b, kind)) for a, b in pairs]))
    return values
