"""The report of an evaluation: report.json, clips.csv, a strip of each clip, and a page with pictures, index.html."""

import csv
import hashlib
import importlib.metadata
import platform
from collections import Counter
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from smcd.evaluation.metrics.columns import COLUMNS
from smcd.evaluation.metrics.evaluate import Evaluation
from smcd.evaluation.metrics.pages import number, report_page
from smcd.evaluation.metrics.pictures import STRIPS, best_and_worst, write_strips
from smcd.evaluation.metrics.schema import ComparedReport, read_formatted
from smcd.evaluation.metrics.summary import class_overlaps
from smcd.runtime.errors import shown
from smcd.runtime.files import new_folder, write_json
from smcd.tracking.grounding import success

FORMAT = "smcd report 1"
JSON_NAME, PAGE_NAME = "report.json", "index.html"
_PACKAGES = ("smcd", "torch", "transformers", "torchmetrics", "opencv-contrib-python-headless", "numpy", "pillow")
_DESCRIBED = ("name", "label", "needs", "convention", "higher_is_better", "digits")
_FORMULA = ("=", "+", "-", "@", "\t")  # a cell that begins so would be computed by a spreadsheet: a ' goes before it
_FACTS = ("static_ao", "ceiling_ao", "frames_scored", "objects_scored", "frames_sha256")


def write_report(folder: Path, evaluation: Evaluation, replace: bool = False) -> None:
    """Write the files and the strips into a folder, which appears when complete, perhaps in place of an earlier report.

    Raises an InputError if it exists already and is not to be replaced.
    """
    report = report_json(evaluation)
    page = report_page(report, best_and_worst(evaluation))
    with new_folder(folder, replace) as temporary:
        write_json(temporary / JSON_NAME, report, indent=1)
        _write_csv(temporary / "clips.csv", evaluation)
        (temporary / PAGE_NAME).write_text(page, encoding="utf-8")
        write_strips(temporary / STRIPS, evaluation)


def report_json(evaluation: Evaluation) -> dict[str, Any]:
    """All of the report but its pictures; `docs/evaluation.md` describes the entries."""
    manifest, scored = evaluation.manifest, set(evaluation.sequences)
    hashes = "\n".join(row["frames_sha256"] for row in evaluation.rows)
    formats = sum((Counter(videos.formats()) for videos in evaluation.predictions.values()), Counter())
    return {
        "format": FORMAT,
        "name": evaluation.name,
        "manifest": {name: getattr(manifest, name) for name in ("dataset", "sha256", "height", "width", "conventions")}
        | {"clips": len(manifest.clips)},
        "scored": {
            "clips": len(scored),
            "missing": [clip.sequence for clip in manifest.clips if clip.sequence not in scored],
            "seeds": [seed for seed in evaluation.predictions if seed is not None],
            "formats": formats,
            "frames_sha256": hashlib.sha256(hashes.encode()).hexdigest(),
        },
        "columns": [{key: getattr(column, key) for key in _DESCRIBED} for column in evaluation.columns],
        "summary": {name: asdict(statistic) for name, statistic in evaluation.summary.items()},
        "baselines": evaluation.baselines,
        "left_out": evaluation.left_out,
        "models": evaluation.models,
        "generator": evaluation.generator,
        "versions": _versions(),
        "iou_over_time": evaluation.lines,
        "classes": {name: success(values) for name, values in class_overlaps(evaluation.rows).items()},
        "clips": evaluation.rows,
    }


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):  # its column is left out
            versions[package] = importlib.metadata.version(package)
    return versions


def _write_csv(path: Path, evaluation: Evaluation) -> None:
    """A row per clip and seed; what was not measured is empty."""
    present = {name for row in evaluation.rows for name in row}
    names = [name for name in (*(column.name for column in COLUMNS), *_FACTS) if name in present]
    names = ["sequence", "seed", "classes", *names]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for row in evaluation.rows:
            texts = {"sequence": row["sequence"], "classes": "; ".join(row["classes"])}
            writer.writerow(row | {name: f"'{text}" if text[:1] in _FORMULA else text for name, text in texts.items()})


def summary_text(evaluation: Evaluation) -> str:
    """The table for a terminal, and what is not in it."""
    manifest = evaluation.manifest
    lines = [f"{evaluation.name}: {len(evaluation.sequences)} of {len(manifest.clips)} clips of {manifest.dataset}"]
    for column, found in zip(evaluation.columns, evaluation.summary.values(), strict=True):
        text = number(found.mean, column.digits)
        text += "" if found.std is None else f" +- {number(found.std, column.digits)}"
        if found.interval:
            text += f"  [{', '.join(number(value, column.digits) for value in found.interval)}]"
        lines.append(f"  {column.label:<22} {text}")
    lines += [
        f"  baseline NOT as expected: {row['name']}" for row in evaluation.baselines if row["as_expected"] is False
    ]
    lines += [f"  left out: {name}: {reason}" for name, reason in evaluation.left_out.items()]
    return shown("\n".join(lines))


def read_report(path: Path) -> dict[str, Any]:
    """The JSON of a report, given its folder or file. Raises an InputError if there is none, or entries do not fit."""
    file = path / JSON_NAME if path.is_dir() else path
    return read_formatted(file, "report", FORMAT, ComparedReport)[0]
