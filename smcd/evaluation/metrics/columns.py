"""The columns of every table: what each number is, what it averages, and which way is better."""

from dataclasses import dataclass, replace
from typing import Any

FEW = 20  # with fewer clips, no difference of two methods is called one
MOVING_LIMIT = 0.5  # static AO under which a clip belongs to the moving subset


@dataclass(frozen=True)
class Column:
    """One metric."""

    name: str  # what it is called in files
    label: str  # what it is called in tables
    needs: str  # the model without which it is left out: tracker, clip, dino, fidelity or i3d
    weight: str | None  # the entry of a clip's row that weights it in the mean; None counts every clip the same
    convention: str  # the definition in a line, for the report
    entry: str = ""  # the entry of a clip's row that is averaged; empty for a number that is computed from whole sets
    only_moving: bool = False  # whether only the moving subset counts
    is_compared: bool = False  # whether comparisons show it
    higher_is_better: bool = True
    digits: int = 3  # how many are shown behind the point


def _of_clips(name: str, label: str, needs: str, weight: str | None, convention: str, digits: int = 3) -> Column:
    return Column(name, label, needs, weight, convention, entry=name, is_compared=True, digits=digits)


_AO = "IoU of tracked and true boxes, as the GOT-10k toolkit: clipped to the image, no +1, frame 0 and cover 0 left out"
_TRACK = "sum of intersections over sum of unions of an object's boxes, frame 0 left out"
GROUNDING = (
    _of_clips("ao", "AO", "tracker", "frames_scored", f"{_AO}; mean over all frames of all clips"),
    _of_clips("sr50", "SR50", "tracker", "frames_scored", "share of those IoUs strictly above 0.5"),
    _of_clips("sr75", "SR75", "tracker", "frames_scored", "share of those IoUs strictly above 0.75"),
)
TRACKS = (
    _of_clips("track_iou", "Track IoU", "tracker", "objects_scored", f"{_TRACK}; mean over objects"),
    _of_clips("track_sr50", "Track SR50", "tracker", "objects_scored", "share of objects with a track IoU above 0.5"),
    _of_clips("track_sr75", "Track SR75", "tracker", "objects_scored", "share of objects with a track IoU above 0.75"),
)
_FFF = "cosine of CLIP's embeddings of generated frame 0 and the given image"
FIDELITY = (
    _of_clips("fff_clip", "FFF CLIP", "clip", None, _FFF),
    _of_clips("fff_dino", "FFF DINO", "dino", None, "the same with DINO's CLS token (256 bicubic, crop 224)"),
    _of_clips("psnr", "PSNR", "fidelity", None, "of frame 0 against the given image, dB, at most 100", digits=2),
    _of_clips("ssim", "SSIM", "fidelity", None, "of frame 0 against the given image; Gaussian window, sigma 1.5"),
)
_CLIP_SIM = "cosine of prompt and frame, 0..1 scale; mean over frames, then clips"
COLUMNS = (*GROUNDING, *TRACKS, _of_clips("clip_sim", "CLIP-SIM", "clip", None, _CLIP_SIM), *FIDELITY)  # of clips.csv


def _averaged(suffix: str, label: str, convention: str, **changes: Any) -> tuple[Column, ...]:
    """The grounding columns, with another average."""
    return tuple(
        replace(c, name=c.name + suffix, label=f"{c.label}, {label}", convention=f"{c.label}: {convention}", **changes)
        for c in GROUNDING
    )


CLIP_MEANS = _averaged("_clips", "mean of clips", "mean of the clips' own means", weight=None, is_compared=False)
MOVING = _averaged("_moving", "moving", f"only clips whose static AO is under {MOVING_LIMIT}", only_moving=True)
CLASS_MEANS = tuple(
    Column(f"m{c.name}", f"m{c.label}", c.needs, None, f"mean over classes of each class's pooled {c.label}")
    for c in GROUNDING
)
BY_NAME = {column.name: column for column in (*COLUMNS, *CLIP_MEANS, *MOVING, *CLASS_MEANS)}
