"""Reports of several methods in one table, with paired differences over the same clips."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from smcd.evaluation.metrics.columns import BY_NAME
from smcd.evaluation.metrics.pages import comparison_page, number
from smcd.evaluation.metrics.report import PAGE_NAME, read_report
from smcd.evaluation.metrics.summary import bootstrap, interval_of, pooled
from smcd.runtime.errors import InputError
from smcd.runtime.files import new_folder, write_json

FORMAT = "smcd comparison 1"
JSON_NAME = "comparison.json"
Report = Mapping[str, Any]


def compare(paths: Sequence[Path], allow_partial: bool = False) -> dict[str, Any]:
    """The comparison of reports (folders or files); differences are to the first.

    Args:
        allow_partial: compare the clips that all have, where the sets differ; FVD and IoU over time, which are measured
            on whole sets, are left out then.

    Raises:
        InputError: there are fewer than 2 reports, or they were not made on the same clips with the same models.
    """
    if len(paths) < 2:
        raise InputError("--compare needs at least 2 reports")
    reports = [(path, read_report(path)) for path in paths]
    _check_same(reports)
    sequences = _common(reports, allow_partial)
    names = [report["name"] for _, report in reports]
    names = [
        f"{name} ({path})" if names.count(name) > 1 else name for name, (path, _) in zip(names, reports, strict=True)
    ]
    contents = [report for _, report in reports]
    whole = all(len(sequences) == report["scored"]["clips"] for report in contents)
    return {
        "format": FORMAT,
        "manifest": contents[0]["manifest"],
        "methods": names,
        "clips": len(sequences),
        "tracker": next((report["models"]["tracker"] for report in contents if "tracker" in report["models"]), None),
        "metrics": _metrics(contents, sequences, whole),
        "iou_over_time": _lines(names, contents) if whole else {"methods": {}, "beside": {}},
    }


def _check_same(reports: Sequence[tuple[Path, Report]]) -> None:
    first, reference = reports[0]
    for path, report in reports:
        if report["manifest"]["sha256"] != reference["manifest"]["sha256"]:
            raise InputError(f"{path}: was made with another manifest than {first}; score both with the same --truth")
    for kind in sorted({kind for _, report in reports for kind in report["models"]}):
        used = [(path, _identity(report["models"][kind])) for path, report in reports if kind in report["models"]]
        for path, identity in used:
            if identity != used[0][1]:
                raise InputError(
                    f"{path}: was made with another {kind} than {used[0][0]}: their numbers do not compare"
                )


def _identity(model: Mapping[str, str]) -> tuple[str | None, str | None]:
    """What makes two models the same: kind of tracker, and hash, or the source of what has no weights."""
    return model.get("name"), model.get("sha256", model.get("source"))


def _common(reports: Sequence[tuple[Path, Report]], allow_partial: bool) -> list[str]:
    sets = {path: {row["sequence"] for row in report["clips"]} for path, report in reports}
    if not (common := set.intersection(*sets.values())):
        raise InputError("the reports have no clip in common")
    for path, own in sets.items():
        if (lacking := len(set.union(*sets.values()) - own)) and not allow_partial:
            raise InputError(
                f"{path}: lacks {lacking} clips that another report has; --allow_partial compares the others"
            )
    return sorted(common)


def _metrics(reports: Sequence[Report], sequences: list[str], whole: bool) -> list[dict[str, Any]]:
    """The table: a metric with an entry per method.

    Clips are resampled the same way for all: an interval of a difference is far narrower than the two of the values.
    FVD, which is measured on whole sets, has no intervals.
    """
    rows = [[row for row in report["clips"] if row["sequence"] in set(sequences)] for report in reports]
    table = []
    for name, described in {column["name"]: column for report in reports for column in report["columns"]}.items():
        column, draws = BY_NAME.get(name), None
        if column is not None and column.is_compared:
            values = [pooled(group, column) for group in rows]
            draws = bootstrap(rows, column, sequences) if len(sequences) > 1 else None
        elif described["needs"] == "i3d" and whole:
            values = [report["summary"].get(name, {}).get("mean") for report in reports]
        else:
            continue
        kept = {key: described[key] for key in ("name", "label", "digits", "higher_is_better")}
        table.append(kept | {"methods": _entries(values, draws, described["higher_is_better"])})
    return table


def _entries(values: Sequence[float | None], draws: np.ndarray | None, higher_is_better: bool) -> list[dict[str, Any]]:
    """Value, interval and difference to the first of each of K methods, from its values and DRAWS K."""
    entries, drawn = [], [] if draws is None else list(draws.T)
    for k, value in enumerate(values):
        known = drawn and value is not None
        entry: dict[str, Any] = {"mean": value, "interval": interval_of(drawn[k]) if known else None}
        if k and value is not None and values[0] is not None:
            entry["difference"] = value - values[0]
            entry["difference_interval"] = interval_of(drawn[k] - drawn[0]) if known else None
            entry["verdict"] = verdict(entry, higher_is_better)
        entries.append(entry)
    return entries


def verdict(entry: Mapping[str, Any], higher_is_better: bool) -> str:
    """better or worse where the interval of the difference leaves out 0, else unclear; empty without an interval."""
    interval = entry.get("difference_interval")
    if interval is None:
        return ""
    if interval[0] <= 0 <= interval[1]:
        return "unclear"
    return "better" if (interval[0] > 0) == higher_is_better else "worse"


def _lines(names: Sequence[str], reports: Sequence[Report]) -> dict[str, dict[str, list[float | None]]]:
    """IoU over time of the methods, and beside it what the first report says about the true videos."""
    lines = [dict(report["iou_over_time"]) for report in reports]
    own = {name: line.pop("predictions") for name, line in zip(names, lines, strict=True) if line}
    return {"methods": own, "beside": lines[0]}


def comparison_text(comparison: Report) -> str:
    """The table for a terminal."""
    lines = [["metric", *comparison["methods"]]]
    lines += [
        [metric["label"], *(_text(entry, metric["digits"]) for entry in metric["methods"])]
        for metric in comparison["metrics"]
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join(rows)


def _text(entry: Mapping[str, Any], digits: int) -> str:
    text = number(entry["mean"], digits)
    if "difference" in entry:
        text += f" ({entry['difference']:+.{digits}f} {entry['verdict']}".rstrip() + ")"
    return text


def write_comparison(folder: Path, comparison: Report) -> None:
    """Write comparison.json and index.html into a new folder. Raises an InputError if it exists."""
    with new_folder(folder) as temporary:
        write_json(temporary / JSON_NAME, comparison, indent=1)
        (temporary / PAGE_NAME).write_text(comparison_page(comparison), encoding="utf-8")
