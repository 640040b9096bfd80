"""Scoring clips: the models that measure, and what they say about one video."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from smcd.evaluation.metrics.frechet import I3D
from smcd.evaluation.metrics.manifest import Clip
from smcd.evaluation.metrics.models import MissingModel
from smcd.evaluation.metrics.similarity import CLIPSimilarity, DINOSimilarity, FrameFidelity, cosine
from smcd.evaluation.metrics.summary import Row
from smcd.runtime.errors import InputError
from smcd.tracking.grounding import Grounding, ground, static, success, track_success
from smcd.tracking.trackers import CSRT, SAM2, Tracker

TRACKERS = ("csrt", "sam2", "none")


@dataclass(frozen=True)
class Options:
    """Which models measure: folders or hub ids, `none` for those that are not wanted.

    Attributes:
        tracker: csrt, sam2 or none.
        fvd_weights: I3D's TorchScript file.
        device: of the networks, as torch names it.
    """

    tracker: str = "csrt"
    sam2: str = "facebook/sam2.1-hiera-large"
    clip: str = "openai/clip-vit-base-patch32"
    dino: str = "facebook/dino-vits16"
    fvd_weights: Path | None = None
    device: str = "cpu"


@dataclass
class Instruments:
    """The models at hand; `left_out` says why one is not."""

    tracker: Tracker | None = None
    clip: CLIPSimilarity | None = None
    dino: DINOSimilarity | None = None
    fidelity: FrameFidelity | None = None
    i3d: I3D | None = None
    left_out: dict[str, str] = field(default_factory=dict)

    def describe(self) -> dict[str, dict[str, str]]:
        """Source and hash of each, for the report."""
        parts = {name: getattr(self, name) for name in ("tracker", "clip", "dino", "fidelity", "i3d")}
        return {name: part.describe() for name, part in parts.items() if part is not None}


def load_instruments(options: Options) -> Instruments:
    """Load what the options name; what is missing is left out, with its reason.

    Raises:
        InputError: an unknown tracker, or an FVD file that is none: both were asked for by name.
    """
    if options.tracker not in TRACKERS:
        raise InputError(f"tracker {options.tracker!r}: choose from {', '.join(TRACKERS)}")
    tools = Instruments()
    makers: dict[str, tuple[str, Callable[[], Any]]] = {
        "tracker": (options.tracker, CSRT if options.tracker == "csrt" else lambda: SAM2(options.sam2, options.device)),
        "clip": (options.clip, lambda: CLIPSimilarity(options.clip, options.device)),
        "dino": (options.dino, lambda: DINOSimilarity(options.dino, options.device)),
        "fidelity": ("torchmetrics", FrameFidelity),
    }
    for name, (source, make) in makers.items():
        if source == "none":
            tools.left_out[name] = "not asked for"
            continue
        try:
            setattr(tools, name, make())
        except MissingModel as error:
            tools.left_out[name] = str(error)
    if options.fvd_weights is None:
        tools.left_out["i3d"] = "FVD needs I3D's TorchScript file: --fvd_weights"
    else:
        tools.i3d = I3D(options.fvd_weights, options.device)
    return tools


@dataclass(frozen=True)
class Reference:
    """What predictions of one clip are compared with, computed once: embeddings 1 C of the given image, and frame 0."""

    image: np.ndarray
    clip: np.ndarray | None
    dino: np.ndarray | None


def make_reference(true_frames: np.ndarray, tools: Instruments) -> Reference:
    """From the true video F H W 3, whose frame 0 is the image that the generator was given."""
    first = true_frames[:1]
    return Reference(
        first[0], tools.clip.images(first) if tools.clip else None, tools.dino.images(first) if tools.dino else None
    )


@dataclass(frozen=True)
class Scored:
    """One scored video.

    Attributes:
        row: its values by column, `frames_scored`, `objects_scored` and `iou` (N lists of F, None where not scored).
        boxes: where the tracker saw the objects, F N 4 in pixels; None without a tracker or an object.
        features: I3D's, None without it.
    """

    row: Row
    boxes: np.ndarray | None = None
    features: np.ndarray | None = None


def score_clip(frames: np.ndarray, clip: Clip, reference: Reference | None, tools: Instruments) -> Scored:
    """Everything about one generated (or true) video.

    Args:
        frames: F H W 3, uint8.
        reference: None where the true video is not at hand.
    """
    row, boxes = track_clip(frames, clip, tools.tracker) if tools.tracker and clip.phrases else ({}, None)
    row |= score_pictures(frames, clip.prompt, reference, tools)
    return Scored(row, boxes, tools.i3d.features(frames) if tools.i3d else None)


def track_clip(frames: np.ndarray, clip: Clip, tracker: Tracker) -> tuple[Row, np.ndarray]:
    """Grounding of a video whose objects are tracked from the true boxes of frame 0, and the boxes F N 4."""
    height, width = frames.shape[1:3]
    boxes = tracker(frames, clip.pixel_boxes(height, width)[0])
    return grounding_row(boxes, clip, height, width), boxes


def grounding_row(boxes: np.ndarray, clip: Clip, height: int, width: int) -> Row:
    """Values of boxes F N 4 (pixels) against the clip's own."""
    cover = None if clip.cover is None else np.array(clip.cover, dtype=np.float64)
    scored: Grounding = ground(boxes, clip.pixel_boxes(height, width), height, width, cover)
    iou = [[None if np.isnan(value) else float(value) for value in values] for values in scored.overlap.T]
    return {
        **success(scored.overlap),
        **track_success(scored.track_iou),
        "frames_scored": int((~np.isnan(scored.overlap)).sum()),
        "objects_scored": int((~np.isnan(scored.track_iou)).sum()),
        "iou": iou,
    }


def static_ao(clip: Clip, height: int, width: int) -> float | None:
    """AO of a video that does not move: frame 0's boxes against all."""
    boxes = static(clip.pixel_boxes(height, width))
    return grounding_row(boxes, clip, height, width).get("ao")


def score_pictures(frames: np.ndarray, prompt: str, reference: Reference | None, tools: Instruments) -> Row:
    """CLIP-SIM, FFF, PSNR and SSIM, as far as models, prompt and reference are there."""
    row: Row = {}
    if tools.clip and (prompt or reference):
        images = tools.clip.images(frames if prompt else frames[:1])
        if prompt:
            row["clip_sim"] = cosine(images, tools.clip.texts([prompt]))
        if reference is not None and reference.clip is not None:
            row["fff_clip"] = cosine(images[:1], reference.clip)
    if tools.dino and reference is not None and reference.dino is not None:
        row["fff_dino"] = cosine(tools.dino.images(frames[:1]), reference.dino)
    if tools.fidelity and reference is not None:
        row |= tools.fidelity(frames[0], reference.image)
    return row
