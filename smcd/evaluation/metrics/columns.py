"""The columns of every table: what each number is, which way is better, over what it is averaged."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """One metric.

    Attributes:
        name: in files.
        label: in tables.
        weight: the entry of a clip's row that it is weighted with, so that the mean over clips is the pooled one; None:
            every clip counts the same.
        needs: the model that it is left out without: tracker, clip, dino, fidelity or i3d.
        convention: the definition in a line, for the report.
        higher_is_better: false for distances.
        digits: shown behind the point.
    """

    name: str
    label: str
    weight: str | None
    needs: str
    convention: str
    higher_is_better: bool = True
    digits: int = 3


_AO = "IoU of tracked and true boxes, as the GOT-10k toolkit: clipped to the image, no +1, frame 0 and cover 0 left out"
_TRACK = "sum of intersections over sum of unions of an object's boxes, frame 0 left out"
COLUMNS = (
    Column("ao", "AO", "frames_scored", "tracker", f"{_AO}; mean over all frames of all clips"),
    Column("sr50", "SR50", "frames_scored", "tracker", "share of those IoUs strictly above 0.5"),
    Column("sr75", "SR75", "frames_scored", "tracker", "share of those IoUs strictly above 0.75"),
    Column("track_iou", "Track IoU", "objects_scored", "tracker", f"{_TRACK}; mean over objects"),
    Column("track_sr50", "Track SR50", "objects_scored", "tracker", "share of objects with a track IoU above 0.5"),
    Column("track_sr75", "Track SR75", "objects_scored", "tracker", "share of objects with a track IoU above 0.75"),
    Column(
        "clip_sim", "CLIP-SIM", None, "clip", "cosine of prompt and frame, 0..1 scale; mean over frames, then clips"
    ),
    Column(
        "fff_clip", "FFF CLIP", None, "clip", "cosine of CLIP's embeddings of generated frame 0 and the given image"
    ),
    Column("fff_dino", "FFF DINO", None, "dino", "the same with DINO's CLS token (256 bicubic, crop 224)"),
    Column("psnr", "PSNR", None, "fidelity", "of frame 0 against the given image, dB, at most 100", digits=2),
    Column("ssim", "SSIM", None, "fidelity", "of frame 0 against the given image; Gaussian window, sigma 1.5"),
)
BY_NAME = {column.name: column for column in COLUMNS}
GROUNDING = ("ao", "sr50", "sr75")
MOVING_LIMIT = 0.5  # static AO under which a clip belongs to the moving subset


def fvd_column(name: str, clips: int) -> Column:
    """FVD's column: its name says how many frames I3D saw."""
    convention = f"Fréchet distance of I3D logits of {clips} clips; compare only at this number of clips and frames"
    return Column(name, name.replace("fvd_", "FVD "), None, "i3d", convention, higher_is_better=False, digits=1)


def describe(name: str, fvd: Column | None = None) -> Column:
    """The column of any name in a summary: means over clips or classes and the moving subset say so.

    Raises:
        KeyError: no such metric.
    """
    if fvd is not None and name == fvd.name:
        return fvd
    for suffix, label, text in (
        ("_clips", "mean of clips", "mean of the clips' own means"),
        ("_moving", "moving", f"only clips whose static AO is under {MOVING_LIMIT}"),
    ):
        if name.endswith(suffix):
            base = BY_NAME[name.removesuffix(suffix)]
            weight = None if suffix == "_clips" else base.weight
            return Column(name, f"{base.label}, {label}", weight, base.needs, f"{base.label}: {text}")
    if name in BY_NAME:
        return BY_NAME[name]
    base = BY_NAME[name.removeprefix("m")]
    return Column(name, f"m{base.label}", None, base.needs, f"mean over classes of each class's pooled {base.label}")
