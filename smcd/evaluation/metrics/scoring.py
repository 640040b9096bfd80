"""Scoring clips: the models that measure, and what they say about one video."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from smcd.evaluation.metrics.columns import Column
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
# What predictions of a clip are compared with: "image", true frame 0, H W 3; the embeddings "clip" of all true frames,
# F C, "dino" of frame 0, 1 C, and "text" of the prompt, 1 C, as far as models and a prompt are there.
Reference = dict[str, np.ndarray]


@dataclass(frozen=True)
class Options:
    """Which models measure: folders or hub ids, `none` for those that are not wanted."""

    tracker: str = "csrt"
    sam2: str = "facebook/sam2.1-hiera-large"
    clip: str = "openai/clip-vit-base-patch32"
    dino: str = "facebook/dino-vits16"
    fvd_weights: str | Path | None = None  # the TorchScript file of I3D
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
        return {name: part.describe() for name, part in vars(self).items() if part and name != "left_out"}


def load_instruments(options: Options) -> Instruments:
    """Load what the options name; what is missing is left out, with its reason.

    Raises an InputError if the tracker is unknown, or the FVD file is no TorchScript: both were asked for by name.
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
        try:
            if source == "none":
                raise MissingModel(_NOT_ASKED)
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
    name, say = fvd_name(counts[0]), f"Fréchet distance of I3D logits of {len(clips)} clips"
    convention = f"{say}; compare only at this number of clips and frames"
    return Column(name, name.replace("fvd_", "FVD "), "i3d", None, convention, higher_is_better=False, digits=1)


def make_reference(frames: np.ndarray, prompt: str, tools: Instruments) -> Reference:
    """The reference of a clip, from its true video F H W 3."""
    reference = {"image": frames[0]}
    if tools.clip:
        reference["clip"] = tools.clip.images(frames)
        if prompt:
            reference["text"] = tools.clip.texts([prompt])
    if tools.dino:
        reference["dino"] = tools.dino.images(frames[:1])
    return reference


def score_clip(
    frames: np.ndarray, clip: Clip, reference: Reference | None, tools: Instruments
) -> tuple[Row, np.ndarray | None, np.ndarray | None]:
    """Row, tracked boxes and I3D's features of a video F H W 3; `reference` is None without the true video."""
    row, boxes = track_clip(frames, clip, tools.tracker)
    row |= score_pictures(frames, clip.prompt, reference, tools)
    return row, boxes, tools.i3d.features(frames) if tools.i3d else None


def track_clip(frames: np.ndarray, clip: Clip, tracker: Tracker | None) -> tuple[Row, np.ndarray | None]:
    """Grounding of a video whose objects are tracked from the true boxes of frame 0, and the boxes F N 4 in pixels.

    Without a tracker or an object there is neither.
    """
    if tracker is None or not clip.phrases:
        return {}, None
    height, width = frames.shape[1:3]
    boxes = tracker(frames, clip.pixel_boxes(height, width)[0])
    return grounding_row(boxes, clip, height, width), boxes


def grounding_row(boxes: np.ndarray, clip: Clip, height: int, width: int) -> Row:
    """Values of boxes F N 4 (pixels) against those of the clip, and `iou`: N lists of F, None where not scored."""
    cover = None if clip.cover is None else np.array(clip.cover)
    overlap, track_iou = ground(boxes, clip.pixel_boxes(height, width), height, width, cover)
    return {
        **success(overlap),
        **track_success(track_iou),
        "frames_scored": int((~np.isnan(overlap)).sum()),
        "objects_scored": int((~np.isnan(track_iou)).sum()),
        "iou": [[None if np.isnan(value) else float(value) for value in values] for values in overlap.T],
    }


def score_pictures(frames: np.ndarray, prompt: str, reference: Reference | None, tools: Instruments) -> Row:
    """CLIP-SIM, FFF, PSNR and SSIM, as far as models, prompt and reference are there."""
    row: Row = {}
    if tools.clip and (prompt or reference):
        images = tools.clip.images(frames if prompt else frames[:1])
        if prompt:
            row["clip_sim"] = cosine(images, tools.clip.texts([prompt]))
        if reference:
            row["fff_clip"] = cosine(images[:1], reference["clip"][:1])
    if tools.dino and reference:
        row["fff_dino"] = cosine(tools.dino.images(frames[:1]), reference["dino"])
    if tools.fidelity and reference:
        row |= tools.fidelity(frames[0], reference["image"])
    return row
