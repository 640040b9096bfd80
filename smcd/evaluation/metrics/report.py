"""The report of an evaluation: report.json, clips.csv and a page with pictures, index.html."""

import csv
import hashlib
import importlib.metadata
import io
import json
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

from smcd.evaluation.metrics.columns import COLUMNS, Column, describe
from smcd.evaluation.metrics.evaluate import Evaluation
from smcd.evaluation.metrics.manifest import read_json
from smcd.evaluation.metrics.page import report_page
from smcd.evaluation.metrics.pictures import best_and_worst
from smcd.evaluation.metrics.summary import class_overlaps
from smcd.runtime.files import new_folder
from smcd.tracking.grounding import success

FORMAT = "smcd report 1"
JSON_NAME, CSV_NAME, PAGE_NAME = "report.json", "clips.csv", "index.html"
_PACKAGES = ("smcd", "torch", "transformers", "torchmetrics", "opencv-contrib-python-headless", "numpy", "pillow")
_FACTS = ("static_ao", "ceiling_ao", "frames_scored", "objects_scored", "frames_sha256")


def write_report(folder: Path, evaluation: Evaluation) -> None:
    """Write the three files into a new folder, which appears when it is complete.

    Raises:
        InputError: the folder exists already.
    """
    report = report_json(evaluation)
    with new_folder(folder) as temporary:
        (temporary / JSON_NAME).write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        (temporary / CSV_NAME).write_text(clips_csv(evaluation), encoding="utf-8")
        page = report_page(report, best_and_worst(evaluation))
        (temporary / PAGE_NAME).write_text(page, encoding="utf-8")


def report_json(evaluation: Evaluation) -> dict[str, Any]:
    """All of the report but its pictures; `docs/evaluation.md` describes the entries."""
    manifest, scored = evaluation.manifest, set(evaluation.sequences)
    formats: dict[str, int] = {}
    for videos in evaluation.predictions.values():
        for name, count in videos.formats().items():
            formats[name] = formats.get(name, 0) + count
    seeds = [seed for seed in evaluation.predictions if seed is not None]
    return {
        "format": FORMAT,
        "name": evaluation.name,
        "manifest": {
            "dataset": manifest.dataset,
            "sha256": manifest.sha256,
            "clips": len(manifest.clips),
            "height": manifest.height,
            "width": manifest.width,
            "conventions": manifest.conventions,
        },
        "scored": {
            "clips": len(scored),
            "missing": [clip.sequence for clip in manifest.clips if clip.sequence not in scored],
            "seeds": seeds,
            "formats": formats,
            "frames_sha256": _hash_of([row["frames_sha256"] for row in evaluation.rows]),
        },
        "columns": [_column(describe(name, evaluation.fvd)) for name in evaluation.summary],
        "summary": {name: statistic.as_json() for name, statistic in evaluation.summary.items()},
        "baselines": evaluation.baselines,
        "left_out": evaluation.left_out,
        "models": evaluation.models,
        "generator": evaluation.generator,
        "versions": _versions(),
        "iou_over_time": evaluation.lines,
        "classes": {name: success(values) for name, values in class_overlaps(evaluation.rows).items()},
        "clips": evaluation.rows,
    }


def summary_text(evaluation: Evaluation) -> str:
    """The table for a terminal, and what is not in it."""
    manifest = evaluation.manifest
    lines = [f"{evaluation.name}: {len(evaluation.sequences)} of {len(manifest.clips)} clips of {manifest.dataset}"]
    for name, statistic in evaluation.summary.items():
        column = describe(name, evaluation.fvd)
        text = f"{statistic.mean:.{column.digits}f}"
        text += "" if statistic.std is None else f" +- {statistic.std:.{column.digits}f}"
        if statistic.interval:
            text += f"  [{statistic.interval[0]:.{column.digits}f}, {statistic.interval[1]:.{column.digits}f}]"
        lines.append(f"  {column.label:<22} {text}")
    lines += [
        f"  baseline NOT as expected: {row['name']}" for row in evaluation.baselines if row["as_expected"] is False
    ]
    lines += [f"  left out: {name}: {reason}" for name, reason in evaluation.left_out.items()]
    return "\n".join(lines)


def _column(column: Column) -> dict[str, Any]:
    return {name: value for name, value in asdict(column).items() if name != "weight"}


def _hash_of(hashes: list[str]) -> str:
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue  # not installed: its column is left out, or the code runs from a checkout
    return versions


def clips_csv(evaluation: Evaluation) -> str:
    """A row per clip and seed; what was not measured is empty."""
    present = {name for row in evaluation.rows for name in row}
    names = [column.name for column in COLUMNS if column.name in present]
    header = ["sequence", "seed", "classes", *names, *(name for name in _FACTS if name in present)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for row in evaluation.rows:
        shown = row | {"classes": "; ".join(row["classes"])}
        writer.writerow(["" if shown.get(name) is None else shown[name] for name in header])
    return text.getvalue()


def read_report(path: Path) -> dict[str, Any]:
    """The JSON of a report, given its folder or file.

    Raises:
        InputError: there is none.
    """
    return read_json(path / JSON_NAME if path.is_dir() else path, "report", FORMAT)
