"""Reports of several methods in one table, with paired differences over the same clips."""

import json
from collections.abc import Mapping, Sequence
from html import escape, unescape
from pathlib import Path
from typing import Any

import numpy as np

from smcd.evaluation.metrics.columns import BY_NAME, GROUNDING, Column, describe
from smcd.evaluation.metrics.page import Cell, document, line_plot, number, statistic_cells, table
from smcd.evaluation.metrics.report import PAGE_NAME, read_report
from smcd.evaluation.metrics.summary import bootstrap, pooled
from smcd.runtime.errors import InputError
from smcd.runtime.files import new_folder

FORMAT = "smcd comparison 1"
JSON_NAME = "comparison.json"
Report = Mapping[str, Any]


def compare(paths: Sequence[Path], allow_partial: bool = False) -> dict[str, Any]:
    """The comparison of reports (folders or files); differences are to the first.

    Args:
        allow_partial: compare the clips that all have, where the sets differ; FVD and IoU over time, which are of whole
            sets, are left out then.

    Raises:
        InputError: fewer than 2 reports, or reports that were not made on the same clips with the same models.
    """
    if len(paths) < 2:
        raise InputError("--compare needs at least 2 reports")
    reports = [read_report(path) for path in paths]
    _check_same(paths, reports)
    sequences = _common(paths, reports, allow_partial)
    names = _unique_names(paths, reports)
    rows = [[row for row in report["clips"] if row["sequence"] in set(sequences)] for report in reports]
    whole = all(len(sequences) == report["scored"]["clips"] for report in reports)
    metrics = list(dict.fromkeys(column["name"] for report in reports for column in report["columns"]))
    table_rows = []
    for metric in metrics:
        if (base := metric.removesuffix("_moving")) in BY_NAME and metric in (
            base,
            *(f"{n}_moving" for n in GROUNDING),
        ):
            table_rows.append(_compared(describe(metric), rows, sequences))
        elif metric.startswith("fvd") and whole:
            table_rows.append(_distances(metric, reports))
    return {
        "format": FORMAT,
        "manifest": reports[0]["manifest"],
        "methods": names,
        "clips": len(sequences),
        "tracker": next((report["models"]["tracker"] for report in reports if "tracker" in report["models"]), None),
        "metrics": table_rows,
        "iou_over_time": _lines(names, reports) if whole else {"methods": {}, "beside": {}},
    }


def _check_same(paths: Sequence[Path], reports: Sequence[Report]) -> None:
    for path, report in zip(paths, reports, strict=True):
        if report["manifest"]["sha256"] != reports[0]["manifest"]["sha256"]:
            raise InputError(
                f"{path}: was made with another manifest than {paths[0]}; score both with the same --truth"
            )
    kinds = {kind for report in reports for kind in report["models"]}
    for kind in sorted(kinds):
        used = [
            (path, report["models"][kind])
            for path, report in zip(paths, reports, strict=True)
            if kind in report["models"]
        ]
        for path, model in used[1:]:
            if _identity(model) != _identity(used[0][1]):
                raise InputError(
                    f"{path}: was made with another {kind} than {used[0][0]}: their numbers do not compare"
                )


def _identity(model: Mapping[str, str]) -> tuple[str | None, str | None]:
    """What makes two models the same: kind of tracker, and hash, or the source of what has no weights."""
    return model.get("name"), model.get("sha256", model.get("source"))


def _common(paths: Sequence[Path], reports: Sequence[Report], allow_partial: bool) -> list[str]:
    sets = [{row["sequence"] for row in report["clips"]} for report in reports]
    common = set.intersection(*sets)
    if not common:
        raise InputError("the reports have no clip in common")
    for path, own in zip(paths, sets, strict=True):
        if own != set.union(*sets) and not allow_partial:
            lacking = len(set.union(*sets) - own)
            raise InputError(
                f"{path}: lacks {lacking} clips that another report has; --allow_partial compares the others"
            )
    return sorted(common)


def _unique_names(paths: Sequence[Path], reports: Sequence[Report]) -> list[str]:
    names = [report["name"] for report in reports]
    return [f"{name} ({path})" if names.count(name) > 1 else name for name, path in zip(names, paths, strict=True)]


def _compared(column: Column, rows: Sequence[list[dict[str, Any]]], sequences: list[str]) -> dict[str, Any]:
    """One metric of all methods, from their rows: values, intervals, and differences to the first method.

    Clips are resampled the same way for all: an interval of a difference is far narrower than the two of the values.
    """
    values = [pooled(group, column) for group in rows]
    draws = bootstrap(rows, column, sequences)
    methods = []
    for k, value in enumerate(values):
        known = value is not None and len(sequences) > 1
        entry: dict[str, Any] = {"mean": value, "interval": _percentiles(draws[:, k]) if known else None}
        if k and value is not None and values[0] is not None:
            entry["difference"] = value - values[0]
            entry["difference_interval"] = _percentiles(draws[:, k] - draws[:, 0]) if known else None
        methods.append(entry)
    return {
        "name": column.name,
        "label": column.label,
        "digits": column.digits,
        "higher_is_better": column.higher_is_better,
        "methods": methods,
    }


def _percentiles(draws: np.ndarray) -> list[float] | None:
    kept = draws[~np.isnan(draws)]
    return np.percentile(kept, [2.5, 97.5]).tolist() if len(kept) else None


def _distances(metric: str, reports: Sequence[Report]) -> dict[str, Any]:
    """FVD: of the whole sets, without intervals."""
    column = next(column for report in reports for column in report["columns"] if column["name"] == metric)
    means = [report["summary"].get(metric, {}).get("mean") for report in reports]
    methods = [{"mean": value, "interval": None} for value in means]
    for entry in methods[1:]:
        if entry["mean"] is not None and means[0] is not None:
            entry |= {"difference": entry["mean"] - means[0], "difference_interval": None}
    return {name: column[name] for name in ("name", "label", "digits", "higher_is_better")} | {"methods": methods}


def _lines(names: Sequence[str], reports: Sequence[Report]) -> dict[str, dict[str, list[float | None]]]:
    """IoU over time of the methods, and beside them what the first report says of the true videos."""
    lines = [dict(report["iou_over_time"]) for report in reports]
    own = {name: line.pop("predictions") for name, line in zip(names, lines, strict=True) if line}
    return {"methods": own, "beside": lines[0]}


def verdict(entry: Mapping[str, Any], higher_is_better: bool) -> str:
    """better or worse where the interval of the difference leaves out 0, else unclear; empty without an interval."""
    interval = entry.get("difference_interval")
    if interval is None:
        return ""
    if interval[0] <= 0 <= interval[1]:
        return "unclear"
    return "better" if (interval[0] > 0) == higher_is_better else "worse"


def comparison_text(comparison: Report) -> str:
    """The table for a terminal."""
    lines = [["metric", *comparison["methods"]]]
    for metric in comparison["metrics"]:
        cells = [_text(entry, metric) for entry in metric["methods"]]
        lines.append([metric["label"], *cells])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join(rows)


def _text(entry: Mapping[str, Any], metric: Mapping[str, Any]) -> str:
    text = unescape(number(entry["mean"], metric["digits"]))
    if "difference" in entry:
        text += (
            f" ({entry['difference']:+.{metric['digits']}f} {verdict(entry, metric['higher_is_better'])}".rstrip() + ")"
        )
    return text


def write_comparison(folder: Path, comparison: Report) -> None:
    """Write comparison.json and index.html into a new folder; raises an InputError where it exists."""
    with new_folder(folder) as temporary:
        text = json.dumps(comparison, indent=1, allow_nan=False) + "\n"
        (temporary / JSON_NAME).write_text(text, encoding="utf-8")
        (temporary / PAGE_NAME).write_text(_page(comparison), encoding="utf-8")


def _page(comparison: Report) -> str:
    manifest, methods = comparison["manifest"], comparison["methods"]
    tracker = (comparison["tracker"] or {}).get("name", "none")
    facts = f"{manifest['dataset']}, {comparison['clips']} clips that all methods have; tracker: {tracker}. "
    facts += f"Differences are to {methods[0]}, with 95% bootstrap intervals over the same clips."
    header = [
        "metric",
        *(part for name in methods for part in (name, "95% interval")),
        *(f"{name} - {methods[0]}" for name in methods[1:]),
    ]
    rows: list[list[str | Cell]] = []
    for metric in comparison["metrics"]:
        row: list[str | Cell] = [("lead", escape(metric["label"]))]
        for entry in metric["methods"]:
            row += statistic_cells(entry | {"std": None}, metric["digits"])
        rows.append(row + [_difference_cell(entry, metric) for entry in metric["methods"][1:]])
    parts = ["<h1>Comparison</h1>", f"<p>{escape(facts)}</p>", table(header, rows)]
    if (lines := comparison["iou_over_time"])["methods"]:
        parts += ["<h2>IoU over time</h2>", line_plot(lines["methods"], lines["beside"])]
    parts.append(f'<p class="note">manifest <code>{manifest["sha256"]}</code></p>')
    return document("Comparison", *parts)


def _difference_cell(entry: Mapping[str, Any], metric: Mapping[str, Any]) -> Cell:
    if "difference" not in entry:
        return "n", number(None, 0)
    digits, interval = metric["digits"], entry["difference_interval"]
    text = f"{entry['difference']:+.{digits}f}"
    if interval is not None:
        text += f" ({interval[0]:+.{digits}f} … {interval[1]:+.{digits}f}) {verdict(entry, metric['higher_is_better'])}"
    return {"better": "n good", "worse": "n bad"}.get(verdict(entry, metric["higher_is_better"]), "n"), text
