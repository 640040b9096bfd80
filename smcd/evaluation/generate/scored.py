"""The report of an evaluation's videos."""

import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from smcd.config import EvaluationConfig
from smcd.evaluation.generate.output import CONFIG_NAME, REPORT_NAME
from smcd.evaluation.generate.plan import read_settings
from smcd.evaluation.metrics.evaluate import evaluate
from smcd.evaluation.metrics.frechet import I3D, frame_repeats
from smcd.evaluation.metrics.models import MissingModel
from smcd.evaluation.metrics.report import summary_text, write_report
from smcd.evaluation.metrics.scoring import Options
from smcd.evaluation.metrics.similarity import FrameFidelity
from smcd.evaluation.metrics.truth import MANIFEST_NAME
from smcd.runtime.errors import InputError
from smcd.tracking.trackers import CSRT

logger = logging.getLogger(__name__)


def check_scoring(config: EvaluationConfig, clips: int) -> None:
    """Before hours of work: refuse what would stop the report (InputError); warn of packages that it will lack.

    Models (CLIP, DINO, SAM 2) are looked for when they are needed.
    """
    if config.fvd_weights is not None:
        if clips < 2:
            raise InputError("FVD needs at least 2 clips: leave out --fvd_weights")
        frame_repeats(config.validation_data.video_length)  # refuses too few frames
        I3D(Path(config.fvd_weights))
    for make in (FrameFidelity, *([CSRT] if config.tracker == "csrt" else [])):
        try:
            make()
        except MissingModel as error:
            logger.warning(f"the report will be without a part, which can be made later by the same command: {error}")


def write_scores(config: EvaluationConfig, root: Path, device: torch.device) -> None:
    """Score the videos below `root`, write `root/report` in place of an earlier one, and print the summary."""
    options = Options(
        tracker=config.tracker,
        sam2=config.sam2,
        clip=config.clip,
        dino=config.dino,
        fvd_weights=None if config.fvd_weights is None else Path(config.fvd_weights),
        device=str(device),
    )
    evaluation = evaluate(
        root, root / MANIFEST_NAME, options, progress=lambda clips, what: tqdm(clips, desc=what, unit="clip")
    )
    evaluation = replace(evaluation, generator=_describe(read_settings(root / CONFIG_NAME)))
    target, fresh = root / REPORT_NAME, root / f".{REPORT_NAME}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    write_report(fresh, evaluation)
    if target.exists():
        shutil.rmtree(target)
    fresh.rename(target)
    print(summary_text(evaluation))
    print(f"the report: {target / 'index.html'}")


def _describe(config: EvaluationConfig) -> dict[str, Any]:
    """What made the videos, for the report."""
    sampling = config.validation_data
    return {
        "weights": config.trained_ckpt_path,
        "weights_sha256": config.weights_sha256,
        "seeds": config.seeds,
        "scheduler": config.scheduler,
        "num_inference_steps": sampling.num_inference_steps,
        "guidance_scale": sampling.guidance_scale,
        "img_free_guidance": config.img_free_guidance,
        "ti_free_guidance": config.ti_free_guidance,
        "box_free_guidance": config.box_free_guidance,
        "mixed_precision": config.mixed_precision,
        "dtype": config.dtype,
        "batch_size": config.batch_size,
    }
