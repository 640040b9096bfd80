"""Pictures of a report: the best and the worst clips, truth above result, each with its boxes."""

import base64
import io
from dataclasses import dataclass

import numpy as np
import PIL.Image

from smcd.evaluation.metrics.columns import COLUMNS
from smcd.evaluation.metrics.evaluate import Evaluation
from smcd.evaluation.metrics.summary import Row
from smcd.runtime.media import draw_boxes, resize, strip

_HEIGHT = 127  # pixels of a frame in the page; from 128 on boxes have labels, which would hide small objects
_PER_END = 4  # clips shown from each end


@dataclass(frozen=True)
class Picture:
    """A strip for the page: its heading, a line below, and the image as a data URI."""

    title: str
    text: str
    uri: str


def best_and_worst(evaluation: Evaluation) -> dict[str, list[Picture]]:
    """The ends of the clips ranked by AO, or by the first column that all have; of the first seed."""
    first = next(iter(evaluation.predictions))
    rows = [row for row in evaluation.rows if row["seed"] == first]
    column = next((c for c in COLUMNS if any(row.get(c.name) is not None for row in rows)), None)
    if column is None:
        return {}
    ranked = sorted((row for row in rows if row.get(column.name) is not None), key=lambda row: -row[column.name])
    best = ranked[: min(_PER_END, (len(ranked) + 1) // 2)]
    worst = ranked[len(best) :][-_PER_END:][::-1]
    return {
        f"Best clips by {column.label}": [_picture(evaluation, row) for row in best],
        f"Worst clips by {column.label}": [_picture(evaluation, row) for row in worst],
    }


def _picture(evaluation: Evaluation, row: Row) -> Picture:
    sequence, seed = row["sequence"], row["seed"]
    clip = next(clip for clip in evaluation.manifest.clips if clip.sequence == sequence)
    frames = evaluation.predictions[seed].read(sequence)
    rows = []
    if evaluation.truth is not None:
        rows.append(_with_boxes(evaluation.truth.read(sequence), clip.boxes, clip.phrases))
    tracked = evaluation.tracked.get((seed, sequence))
    seen = clip.boxes if tracked is None else _relative(tracked, *frames.shape[1:3])
    rows.append(_with_boxes(frames, seen, clip.phrases))
    shown = [c for c in COLUMNS if row.get(c.name) is not None and not c.name.startswith("track_")]
    values = [f"{c.label} {row[c.name]:.{c.digits}f}" for c in shown]
    values += [f"static AO {row['static_ao']:.3f}"] if "static_ao" in row else []
    title = sequence if seed is None else f"{sequence}, seed {seed}"
    return Picture(f"{title}: {clip.prompt}" if clip.prompt else title, " · ".join(values), _data_uri(strip(*rows)))


def _relative(boxes: np.ndarray, height: int, width: int) -> list[list[list[float] | None]]:
    """Boxes F N 4 in pixels as lists in 0..1, None for those that are not there."""
    scaled = boxes / [width, height, width, height]
    return [[None if np.isnan(box).any() else box.tolist() for box in row] for row in scaled]


def _with_boxes(frames: np.ndarray, boxes: list[list[list[float] | None]], phrases: list[str]) -> np.ndarray:
    height, width = frames.shape[1:3]
    size = _HEIGHT, round(width * _HEIGHT / height)
    small = np.stack([np.asarray(resize(PIL.Image.fromarray(frame), *size)) for frame in frames])
    return draw_boxes(small, boxes, phrases)


def _data_uri(image: np.ndarray) -> str:
    data = io.BytesIO()
    PIL.Image.fromarray(image).save(data, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
