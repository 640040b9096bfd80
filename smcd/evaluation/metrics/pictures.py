"""Pictures of a report: the best and the worst clips, truth above result, each with its boxes."""

import base64
import io

import numpy as np
import PIL.Image

from smcd.evaluation.metrics.columns import COLUMNS, TRACKS
from smcd.evaluation.metrics.evaluate import Evaluation
from smcd.evaluation.metrics.manifest import Boxes, box_lists
from smcd.evaluation.metrics.summary import Row
from smcd.runtime.media import draw_boxes, resize, strip

_HEIGHT = 127  # pixels of a frame in the page; from 128 on boxes have labels, which would hide small objects
_PER_END = 4  # clips shown from each end
Picture = dict[str, str]  # a strip for the page: `title`, `text` below it, and the image as a data `uri`


def best_and_worst(evaluation: Evaluation) -> dict[str, list[Picture]]:
    """Heading -> the ends of the first seed's clips, ranked by AO, or by the first column that any of them has."""
    first = next(iter(evaluation.predictions))
    rows = [row for row in evaluation.rows if row["seed"] == first]
    column = next((c for c in COLUMNS if any(c.name in row for row in rows)), None)
    if column is None:
        return {}
    ranked = sorted((row for row in rows if column.name in row), key=lambda row: -row[column.name])
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
    height, width = frames.shape[1:3]
    tracked = evaluation.tracked.get((seed, sequence))
    seen = clip.boxes if tracked is None else box_lists(tracked / [width, height, width, height])
    strips = [_with_boxes(frames, seen, clip.phrases)]
    if evaluation.truth.videos is not None:
        strips.insert(0, _with_boxes(evaluation.truth.videos.read(sequence), clip.boxes, clip.phrases))
    values = [f"{c.label} {row[c.name]:.{c.digits}f}" for c in COLUMNS if c.name in row and c not in TRACKS]
    values += [f"static AO {row['static_ao']:.3f}"] if "static_ao" in row else []
    title = (sequence if seed is None else f"{sequence}, seed {seed}") + (f": {clip.prompt}" if clip.prompt else "")
    return {"title": title, "text": " · ".join(values), "uri": _data_uri(strip(*strips))}


def _with_boxes(frames: np.ndarray, boxes: Boxes, phrases: list[str]) -> np.ndarray:
    height, width = frames.shape[1:3]
    size = _HEIGHT, round(width * _HEIGHT / height)
    small = np.stack([np.asarray(resize(PIL.Image.fromarray(frame), *size)) for frame in frames])
    return draw_boxes(small, boxes, phrases)


def _data_uri(image: np.ndarray) -> str:
    data = io.BytesIO()
    PIL.Image.fromarray(image).save(data, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
