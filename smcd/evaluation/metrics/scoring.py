"""Scoring clips: the models that measure, and what they say about one video."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from smcd.evaluation.metrics.columns import Column, fvd_column
from smcd.evaluation.metrics.frechet import I3D, fvd_name
from smcd.evaluation.metrics.manifest import Clip
from smcd.evaluation.metrics.similarity import CLIPSimilarity, DINOSimilarity, FrameFidelity, cosine
from smcd.evaluation.metrics.summary import Row
from smcd.runtime.errors import InputError
from smcd.runtime.pretrained import MissingModel
from smcd.tracking.box_trackers import CSRT, SAM2, Tracker
from smcd.tracking.grounding import ground, success, track_success

logger = logging.getLogger(__name__)
TRACKERS = ("csrt", "sam2", "none")
_NOT_ASKED = "not asked for"


@dataclass(frozen=True)
class Options:
    """Which models measure: folders or hub ids, `none` for those that are not wanted.

    Attributes:
        tracker: csrt, sam2 or none.
        fvd_weights: the TorchScript file of I3D.
        device: where the networks run, as torch names it.
    """

    tracker: str = "csrt"
    sam2: str = "facebook/sam2.1-hiera-large"
    clip: str = "openai/clip-vit-base-patch32"
    dino: str = "facebook/dino-vits16"
    fvd_weights: str | Path | None = None
    device: str = "cpu"


@dataclass
class Instruments:
    """The loaded models; `left_out` says why one is missing."""

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
        InputError: the tracker is unknown, or the FVD file is no TorchScript: both were asked for by name.
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
            tools.left_out[name] = _NOT_ASKED
            continue
        try:
            setattr(tools, name, make())
        except MissingModel as error:
            tools.left_out[name] = str(error)
    if options.fvd_weights is None:
        tools.left_out["i3d"] = "FVD needs I3D's TorchScript file: --fvd_weights"
    else:
        tools.i3d = I3D(Path(options.fvd_weights), options.device)
    return tools


def check_scoring(options: Options, clips: Sequence[Clip]) -> None:
    """Before hours of work: refuse what would stop the report (InputError); warn of packages that it will lack.

    Models (CLIP, DINO, SAM 2) are looked for when they are needed.
    """
    if options.fvd_weights is not None:
        fvd_of(clips)
    tracker = "none" if options.tracker == "sam2" else options.tracker
    tools = load_instruments(replace(options, tracker=tracker, clip="none", dino="none", device="cpu"))
    for name in ("fidelity", "tracker"):
        if (reason := tools.left_out.get(name, _NOT_ASKED)) != _NOT_ASKED:
            logger.warning(f"the report will be without a part, which can be made later by the same command: {reason}")


def fvd_of(clips: Sequence[Clip]) -> Column:
    """The column of FVD over these clips. Raises an InputError if it cannot be measured."""
    if len(clips) < 2:
        raise InputError(f"FVD needs at least 2 clips; there is {len(clips)}: leave out --fvd_weights")
    counts = sorted({len(clip.frames) for clip in clips})
    if len(counts) > 1:
        raise InputError(f"FVD needs clips of one length; there are {counts} frames: leave out --fvd_weights")
    return fvd_column(fvd_name(counts[0]), len(clips))


@dataclass(frozen=True)
class Reference:
    """What predictions of one clip are compared with, computed once on the true video.

    Attributes:
        image: frame 0, H W 3, which the generator was given.
        clip: CLIP's embeddings of all frames, F C; None without CLIP.
        dino: DINO's embedding of frame 0, 1 C; None without DINO.
        text: CLIP's embedding of the prompt, 1 C; None without CLIP or a prompt.
    """

    image: np.ndarray
    clip: np.ndarray | None
    dino: np.ndarray | None
    text: np.ndarray | None


def make_reference(frames: np.ndarray, prompt: str, tools: Instruments) -> Reference:
    """Computed from the true video, F H W 3."""
    clip, dino = tools.clip, tools.dino
    return Reference(
        image=frames[0],
        clip=clip.images(frames) if clip else None,
        dino=dino.images(frames[:1]) if dino else None,
        text=clip.texts([prompt]) if clip and prompt else None,
    )


@dataclass(frozen=True)
class Scored:
    """One scored video.

    Attributes:
        row: the values by column, `frames_scored`, `objects_scored` and `iou` (N lists of F, None where not scored).
        boxes: where the tracker saw the objects, F N 4 in pixels; None without a tracker or an object.
        features: what I3D makes of it; None without I3D.
    """

    row: Row
    boxes: np.ndarray | None
    features: np.ndarray | None


def score_clip(frames: np.ndarray, clip: Clip, reference: Reference | None, tools: Instruments) -> Scored:
    """Everything about one generated (or true) video.

    Args:
        frames: F H W 3, uint8.
        reference: None where the true video is not at hand.
    """
    row, boxes = track_clip(frames, clip, tools.tracker)
    row |= score_pictures(frames, clip.prompt, reference, tools)
    return Scored(row, boxes, tools.i3d.features(frames) if tools.i3d else None)


def track_clip(frames: np.ndarray, clip: Clip, tracker: Tracker | None) -> tuple[Row, np.ndarray | None]:
    """Grounding of a video whose objects are tracked from the true boxes of frame 0, and the boxes F N 4.

    Both are empty without a tracker or an object.
    """
    if tracker is None or not clip.phrases:
        return {}, None
    height, width = frames.shape[1:3]
    boxes = tracker(frames, clip.pixel_boxes(height, width)[0])
    return grounding_row(boxes, clip, height, width), boxes


def grounding_row(boxes: np.ndarray, clip: Clip, height: int, width: int) -> Row:
    """Values of boxes F N 4 (pixels) against those of the clip."""
    cover = None if clip.cover is None else np.array(clip.cover, dtype=np.float64)
    scored = ground(boxes, clip.pixel_boxes(height, width), height, width, cover)
    iou = [[None if np.isnan(value) else float(value) for value in values] for values in scored.overlap.T]
    return {
        **success(scored.overlap),
        **track_success(scored.track_iou),
        "frames_scored": int((~np.isnan(scored.overlap)).sum()),
        "objects_scored": int((~np.isnan(scored.track_iou)).sum()),
        "iou": iou,
    }


def score_pictures(frames: np.ndarray, prompt: str, reference: Reference | None, tools: Instruments) -> Row:
    """CLIP-SIM, FFF, PSNR and SSIM, as far as models, prompt and reference are there."""
    row: Row = {}
    if tools.clip and (prompt or reference):
        images = tools.clip.images(frames if prompt else frames[:1])
        if prompt:
            row["clip_sim"] = cosine(images, tools.clip.texts([prompt]))
        if reference is not None and reference.clip is not None:
            row["fff_clip"] = cosine(images[:1], reference.clip[:1])
    if tools.dino and reference is not None and reference.dino is not None:
        row["fff_dino"] = cosine(tools.dino.images(frames[:1]), reference.dino)
    if tools.fidelity and reference is not None:
        row |= tools.fidelity(frames[0], reference.image)
    return row
