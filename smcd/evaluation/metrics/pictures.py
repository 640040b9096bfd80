"""Pictures and videos of reports: the truth above, or beside, the result, each with its boxes."""

import base64
import io
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.Image

from smcd.evaluation.metrics.columns import COLUMNS, TRACKS
from smcd.evaluation.metrics.evaluate import Evaluation
from smcd.evaluation.metrics.manifest import Boxes, Clip, box_lists
from smcd.evaluation.metrics.summary import Row
from smcd.runtime.errors import InputError
from smcd.runtime.media import draw_boxes, read_image, resize, strip, write_video

STRIPS = "clips"  # folder of a report with a strip for each clip, from which comparisons make videos
_HEIGHT = 127  # pixels of a frame in the page; from 128 on boxes have labels, which would hide small objects
_GAP = 4  # pixels of white around each frame
_PER_END = 4  # clips shown from each end
_MOST_STRIPS, _MOST_FRAMES = 500, 64  # of more clips or frames, the first or evenly spaced ones are kept
_WIDEST = 8192  # pixels of a video
TRUTH = "true video"


class Video(NamedTuple):
    """Videos side by side, for a page."""

    labels: list[str]  # from left to right
    uri: str  # an mp4, as data


class Picture(NamedTuple):
    """A clip, for a page: the strip is the image `uri`, as data."""

    title: str
    text: str
    uri: str
    video: Video


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


def write_strips(folder: Path, evaluation: Evaluation) -> None:
    """Write `<sequence>.jpg` for each clip of the first seed: true frames, if they are at hand, above the result."""
    folder.mkdir()
    for row in evaluation.rows[: len(evaluation.sequences)][:_MOST_STRIPS]:
        picture = strip(*_drawn(evaluation, row).values(), most=_MOST_FRAMES, gap=_GAP)
        (folder / f"{row['sequence']}.jpg").write_bytes(_jpeg(picture))


def video_of(reports: Mapping[str, Path], sequence: str, height: int, width: int) -> Video | None:
    """A clip of several reports (method -> folder): the truth, if one of them has it, then each method's result.

    None if one of them has no strip of the clip, or they are too many for one video; `height` and `width` are those of
    the manifest.
    """
    strips = [_read_strip(folder / STRIPS / f"{sequence}.jpg", height, width) for folder in reports.values()]
    found = [rows for rows in strips if rows is not None]
    is_too_wide = (len(strips) + 1) * _width(height, width) > _WIDEST
    if len(found) < len(strips) or len({rows.shape[1:] for rows in found}) > 1 or is_too_wide:
        return None
    shown = {name: rows[-1] for name, rows in zip(reports, found, strict=True)}
    truth = next((rows[0] for rows in found if len(rows) == 2), None)
    return _video(shown if truth is None else {TRUTH: truth} | shown)


def _read_strip(path: Path, height: int, width: int) -> np.ndarray | None:
    """The rows (R F H W 3, R at most 2) of a strip; None if there is none of frames of this shape."""
    try:
        picture = np.asarray(read_image(path))
    except InputError:
        return None
    h, w = _HEIGHT + 2 * _GAP, _width(height, width) + 2 * _GAP
    rows, count = picture.shape[0] // h, picture.shape[1] // w
    if picture.shape[:2] != (rows * h, count * w) or not 1 <= rows <= 2 or count > _MOST_FRAMES:
        return None
    return picture.reshape(rows, h, count, w, 3).swapaxes(1, 2)[:, :, _GAP:-_GAP, _GAP:-_GAP]


def _picture(evaluation: Evaluation, row: Row) -> Picture:
    videos = _drawn(evaluation, row)
    values = [f"{c.label} {row[c.name]:.{c.digits}f}" for c in COLUMNS if c.name in row and c not in TRACKS]
    values += [f"static AO {row['static_ao']:.3f}"] if "static_ao" in row else []
    sequence, seed, prompt = row["sequence"], row["seed"], _clip(evaluation, row).prompt
    title = (sequence if seed is None else f"{sequence}, seed {seed}") + (f": {prompt}" if prompt else "")
    still = _data("image/jpeg", _jpeg(strip(*videos.values())))
    return Picture(title, " · ".join(values), still, _video(videos))


def _clip(evaluation: Evaluation, row: Row) -> Clip:
    return next(clip for clip in evaluation.manifest.clips if clip.sequence == row["sequence"])


def _drawn(evaluation: Evaluation, row: Row) -> dict[str, np.ndarray]:
    """The true video, if it is at hand, and the result, small and with boxes."""
    clip, sequence, seed = _clip(evaluation, row), row["sequence"], row["seed"]
    frames = evaluation.predictions[seed].read(sequence)
    height, width = frames.shape[1:3]
    tracked = evaluation.tracked.get((seed, sequence))
    seen = clip.boxes if tracked is None else box_lists(tracked / [width, height, width, height])
    result = {"result": _with_boxes(frames, seen, clip.phrases)}
    if evaluation.truth.videos is None:
        return result
    return {TRUTH: _with_boxes(evaluation.truth.videos.read(sequence), clip.boxes, clip.phrases)} | result


def _width(height: int, width: int) -> int:
    """How wide frames of this shape are in pages; very wide ones are squashed: 64 of them must fit into a JPEG."""
    return min(max(1, round(width * _HEIGHT / height)), 7 * _HEIGHT)


def _with_boxes(frames: np.ndarray, boxes: Boxes, phrases: list[str]) -> np.ndarray:
    size = _HEIGHT, _width(*frames.shape[1:3])
    small = np.stack([np.asarray(resize(PIL.Image.fromarray(frame), *size)) for frame in frames])
    return draw_boxes(small, boxes, phrases)


def _jpeg(image: np.ndarray) -> bytes:
    data = io.BytesIO()
    PIL.Image.fromarray(image).save(data, "JPEG", quality=88)
    return data.getvalue()


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _video(videos: Mapping[str, np.ndarray]) -> Video:
    """Videos F H W 3 as one, so that they play at the same time, and the page needs no script."""
    apart = [np.pad(frames, ((0, 0), (0, 0), (0, _GAP), (0, 0)), constant_values=255) for frames in videos.values()]
    frames = np.concatenate(apart, axis=2)
    frames = np.pad(frames, ((0, 0), *((0, size % 2) for size in frames.shape[1:3]), (0, 0)), constant_values=255)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "video.mp4")
        write_video(path, frames)
        return Video(list(videos), _data("video/mp4", path.read_bytes()))
