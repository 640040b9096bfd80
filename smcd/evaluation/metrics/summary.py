"""From rows per clip to a table: pooled means, deviations over seeds, bootstrap intervals over clips.

A row is a dict: `sequence`, `seed`, the values of `columns`, and the weights `frames_scored` and `objects_scored`. A
value that is not there is left out, never counted as zero.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from smcd.evaluation.metrics.columns import COLUMNS, GROUNDING, MOVING_LIMIT, Column, describe
from smcd.tracking.grounding import class_means

Row = dict[str, Any]
DRAWS = 2000


@dataclass(frozen=True)
class Statistic:
    """One number of the table.

    Attributes:
        mean: over seeds of the (pooled) value.
        std: over seeds, divisor n - 1; None with one seed.
        interval: 95% bootstrap over clips, each with all its seeds; None where that makes no sense.
        clips: how many clips have the value.
        seeds: the value of each seed.
    """

    mean: float
    std: float | None
    interval: tuple[float, float] | None
    clips: int
    seeds: list[float]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def pooled(rows: Iterable[Row], column: Column) -> float | None:
    """The weighted mean of a column; None where no row has it."""
    value, weight = _sums(rows, column)
    return value / weight if weight else None


def _sums(rows: Iterable[Row], column: Column) -> tuple[float, float]:
    pairs = [(row[_key(column)], 1.0 if column.weight is None else row[column.weight]) for row in _having(rows, column)]
    return sum(value * weight for value, weight in pairs), sum(weight for _, weight in pairs)


def _key(column: Column) -> str:
    """The entry of a row that a column averages."""
    return column.name.removesuffix("_clips").removesuffix("_moving")


def _having(rows: Iterable[Row], column: Column) -> list[Row]:
    chosen = (row for row in rows if row.get(_key(column)) is not None)
    if column.name.endswith("_moving"):
        return [row for row in chosen if row.get("static_ao", 1) < MOVING_LIMIT]
    return list(chosen)


def summarize(rows: Sequence[Row]) -> dict[str, Statistic]:
    """Every column that some row has, the grounding ones also as means over clips, classes and the moving subset."""
    names = [column.name for column in COLUMNS]
    names += [f"{name}_{suffix}" for suffix in ("clips", "moving") for name in GROUNDING]
    summary = {}
    for column in map(describe, names):
        if statistic := _statistic(rows, column):
            summary[column.name] = statistic
    return summary | _class_statistics(rows)


def _by_seed(rows: Iterable[Row]) -> dict[int | None, list[Row]]:
    groups: dict[int | None, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.get("seed"), []).append(row)
    return groups


def _statistic(rows: Sequence[Row], column: Column) -> Statistic | None:
    values = [pooled(group, column) for group in _by_seed(rows).values()]
    present = [value for value in values if value is not None]
    if not present:
        return None
    sequences = sorted({row["sequence"] for row in _having(rows, column)})
    interval = None
    if len(sequences) > 1:
        low, high = np.percentile(bootstrap([rows], column, sequences)[:, 0], [2.5, 97.5])
        interval = (float(low), float(high))
    return statistic_of(present, interval, len(sequences))


def statistic_of(values: list[float], interval: tuple[float, float] | None, clips: int) -> Statistic:
    """From the values of the seeds."""
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Statistic(float(np.mean(values)), std, interval, clips, values)


def bootstrap(methods: Sequence[Iterable[Row]], column: Column, sequences: Sequence[str]) -> np.ndarray:
    """The column of each of K methods in `DRAWS` resamples of the clips, the same ones for all: DRAWS K.

    A clip comes with all its seeds. NaN where a resample holds no value.
    """
    index = {sequence: c for c, sequence in enumerate(sequences)}
    sums = np.zeros((2, len(methods), len(sequences)))  # values and weights
    for k, rows in enumerate(methods):
        for row in rows:
            if row["sequence"] in index:
                sums[:, k, index[row["sequence"]]] += _sums([row], column)
    drawn = np.random.default_rng(0).integers(len(sequences), size=(DRAWS, len(sequences)))
    counts = np.stack([np.bincount(draw, minlength=len(sequences)) for draw in drawn])  # DRAWS C
    values, weights = counts @ sums[0].T, counts @ sums[1].T
    return np.divide(values, weights, out=np.full_like(values, np.nan), where=weights > 0)


def _class_statistics(rows: Sequence[Row]) -> dict[str, Statistic]:
    seeds = [class_means(class_overlaps(group)) for group in _by_seed(rows).values()]
    clips = len({row["sequence"] for row in rows})
    names = seeds[0] if seeds else {}
    return {name: statistic_of([values[name] for values in seeds if name in values], None, clips) for name in names}


def class_overlaps(rows: Iterable[Row]) -> dict[str, np.ndarray]:
    """Class -> the IoUs of all its objects, from the rows' `classes` (N) and `iou` (N lists of F)."""
    overlaps: dict[str, list[float]] = {}
    for row in rows:
        for name, values in zip(row.get("classes", ()), row.get("iou", ()), strict=False):
            if name:
                overlaps.setdefault(name, []).extend(np.nan if value is None else value for value in values)
    return {name: np.array(values) for name, values in sorted(overlaps.items())}


def over_time(ious: Iterable[Sequence[Sequence[float | None]]]) -> list[float | None]:
    """Mean IoU of each frame over all objects of all clips; None where none is scored (frame 0)."""
    frames: list[list[float]] = []
    for objects in ious:
        for values in objects:
            frames += [[] for _ in range(len(values) - len(frames))]
            for f, value in enumerate(values):
                if value is not None:
                    frames[f].append(value)
    return [float(np.mean(values)) if values else None for values in frames]
