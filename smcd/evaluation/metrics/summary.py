"""Turns rows per clip into a table: pooled means, deviations over seeds, bootstrap intervals over clips.

A row is a dict with `sequence`, `seed`, the values of `columns`, and the weights `frames_scored` and `objects_scored`.
A value that was not measured is left out, never counted as zero.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np

from smcd.evaluation.metrics.columns import CLIP_MEANS, COLUMNS, MOVING, MOVING_LIMIT, Column
from smcd.tracking.grounding import class_means

Row = dict[str, Any]
DRAWS = 2000


@dataclass(frozen=True)
class Statistic:
    """One number of the table."""

    mean: float  # over seeds, of the (pooled) value
    std: float | None  # the deviation over seeds, with divisor n - 1; None with one seed
    interval: list[float] | None  # a 95% bootstrap over clips, each with all its seeds; None where that makes no sense
    clips: int  # how many clips have the value
    seeds: list[float]  # the value of each seed


def pooled(rows: Iterable[Row], column: Column) -> float | None:
    """The weighted mean of a column; None where no row has it."""
    parts = _weighted(rows, column)
    total = sum(weight for _, _, weight in parts)
    return sum(value for _, value, _ in parts) / total if total else None


def _weighted(rows: Iterable[Row], column: Column) -> list[tuple[str, float, float]]:
    """Sequence, value times weight, and weight of each row that a column averages."""
    chosen = [row for row in rows if row.get(column.entry) is not None]
    if column.only_moving:
        chosen = [row for row in chosen if row.get("static_ao", 1) < MOVING_LIMIT]
    weights = [row[column.weight] if column.weight else 1.0 for row in chosen]
    return [(row["sequence"], row[column.entry] * weight, weight) for row, weight in zip(chosen, weights, strict=True)]


def summarize(rows: Sequence[Row]) -> dict[str, Statistic]:
    """Every column that some row has, the grounding ones also as means over clips, classes and the moving subset."""
    groups: dict[int | None, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.get("seed"), []).append(row)
    summary = {}
    for column in (*COLUMNS, *CLIP_MEANS, *MOVING):
        if values := [value for group in groups.values() if (value := pooled(group, column)) is not None]:
            sequences = sorted({sequence for sequence, _, _ in _weighted(rows, column)})
            drawn = bootstrap([rows], column, sequences)[:, 0] if len(sequences) > 1 else np.array([])
            summary[column.name] = statistic_of(values, interval_of(drawn), len(sequences))
    classes = [means for group in groups.values() if (means := class_means(class_overlaps(group)))]
    clips = len({row["sequence"] for row in rows})
    for name in classes[0] if classes else ():
        summary[name] = statistic_of([means[name] for means in classes], None, clips)
    return summary


def statistic_of(values: list[float], interval: list[float] | None, clips: int) -> Statistic:
    """The statistic of values, one for each seed."""
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Statistic(float(np.mean(values)), std, interval, clips, values)


def interval_of(draws: np.ndarray) -> list[float] | None:
    """The middle 95% of the draws that are numbers; None without any."""
    kept = draws[~np.isnan(draws)]
    return np.percentile(kept, [2.5, 97.5]).tolist() if len(kept) else None


def bootstrap(methods: Sequence[Iterable[Row]], column: Column, sequences: Sequence[str]) -> np.ndarray:
    """The column of each of K methods in `DRAWS` resamples of the clips, the same ones for all: DRAWS K.

    A clip comes with all its seeds. NaN where a resample holds no value.
    """
    index = {sequence: c for c, sequence in enumerate(sequences)}
    sums = np.zeros((2, len(methods), len(sequences)))  # values and weights
    for k, rows in enumerate(methods):
        for sequence, value, weight in _weighted(rows, column):
            if sequence in index:
                sums[:, k, index[sequence]] += value, weight
    drawn = np.random.default_rng(0).integers(len(sequences), size=(DRAWS, len(sequences)))
    counts = np.stack([np.bincount(draw, minlength=len(sequences)) for draw in drawn])  # DRAWS C
    values, weights = counts @ sums[0].T, counts @ sums[1].T
    return np.divide(values, weights, out=np.full_like(values, np.nan), where=weights > 0)


def class_overlaps(rows: Iterable[Row]) -> dict[str, np.ndarray]:
    """Class -> the IoUs of all its objects, from the rows' `classes` (N) and `iou` (N lists of F)."""
    overlaps: dict[str, list[float]] = {}
    for row in rows:
        for name, values in zip(row.get("classes", ()), row.get("iou", ()), strict=False):
            if name:
                overlaps.setdefault(name, []).extend(np.nan if value is None else value for value in values)
    return {name: np.array(values) for name, values in sorted(overlaps.items())}


def over_time(rows: Iterable[Row]) -> list[float | None]:
    """Mean IoU of each frame over all objects of all clips; None where none is scored (frame 0)."""
    frames = zip_longest(*(values for row in rows for values in row.get("iou", ())))
    scored = ([value for value in frame if value is not None] for frame in frames)
    return [float(np.mean(values)) if values else None for values in scored]
