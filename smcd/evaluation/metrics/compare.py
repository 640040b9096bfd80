"""Reports of several methods in one table, with paired differences over the same clips."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from smcd.evaluation.metrics.columns import BY_NAME, COLUMNS, FEW
from smcd.evaluation.metrics.pages import comparison_page, number
from smcd.evaluation.metrics.pictures import video_of
from smcd.evaluation.metrics.report import PAGE_NAME, read_report
from smcd.evaluation.metrics.summary import bootstrap, interval_of, pooled
from smcd.runtime.errors import InputError, shown
from smcd.runtime.files import new_folder, write_json

FORMAT = "smcd comparison 1"
_TOO_FEW = "too few clips"
_SHOWN = 8  # clips whose videos the page shows
_KEPT = ("dataset", "sha256", "height", "width", "conventions", "clips")  # what comparisons say of the manifest
Report = Mapping[str, Any]


def compare(paths: Sequence[Path], allow_partial: bool = False) -> dict[str, Any]:
    """The comparison of reports (folders or files); differences are to the first.

    Where the sets of clips differ, `allow_partial` compares the clips that all have; FVD and IoU over time, which are
    measured on whole sets, are left out then. Raises an InputError if there are fewer than 2 reports, or they were not
    made on the same clips with the same models.
    """
    if len(paths) < 2:
        raise InputError("a comparison needs at least 2 reports")
    reports = [read_report(path) for path in paths]
    _check_same(paths, reports)
    sequences = _common(paths, reports, allow_partial)
    names = [report["name"] for report in reports]
    names = [f"{name} ({path})" if names.count(name) > 1 else name for name, path in zip(names, paths, strict=True)]
    whole = all(len(sequences) == report["scored"]["clips"] for report in reports)
    return {
        "format": FORMAT,
        "manifest": {key: reports[0]["manifest"][key] for key in _KEPT},
        "methods": names,
        "clips": len(sequences),
        "tracker": next((report["models"]["tracker"] for report in reports if "tracker" in report["models"]), None),
        "metrics": _metrics(reports, sequences, whole),
        "iou_over_time": _lines(names, reports) if whole else {"methods": {}, "beside": {}},
        "most_different": _most_different(reports, sequences),
    }


def _check_same(paths: Sequence[Path], reports: Sequence[Report]) -> None:
    first: dict[str, tuple[Path, Any]] = {}
    for path, report in zip(paths, reports, strict=True):
        used: dict[str, Any] = {"manifest": report["manifest"]["sha256"]}
        for kind, model in report["models"].items():  # what has no weights is known by its source
            used[kind] = model.get("name"), model.get("sha256", model.get("source"))
        for kind, identity in used.items():
            other, expected = first.setdefault(kind, (path, identity))
            if identity != expected:
                raise InputError(f"{path}: was made with another {kind} than {other}; score both with the same one")


def _common(paths: Sequence[Path], reports: Sequence[Report], allow_partial: bool) -> list[str]:
    sets = [{row["sequence"] for row in report["clips"]} for report in reports]
    if not (common := set.intersection(*sets)):
        raise InputError("the reports have no clip in common")
    for path, own in zip(paths, sets, strict=True):
        if (lacking := len(set.union(*sets) - own)) and not allow_partial:
            lack = f"lacks {lacking} clips that another report has"
            raise InputError(f"{path}: {lack}; --allow_partial compares the others")
    return sorted(common)


def _metrics(reports: Sequence[Report], sequences: list[str], whole: bool) -> list[dict[str, Any]]:
    """The table: a metric with an entry per method.

    Clips are resampled the same way for all: an interval of a difference is far narrower than the two of the values.
    Below `FEW` clips the intervals are too uncertain themselves to call a difference.
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
        entries = _entries(values, draws, described["higher_is_better"])
        for entry in entries if len(sequences) < FEW else ():
            if entry.get("verdict"):
                entry["verdict"] = _TOO_FEW
        table.append(kept | {"methods": entries})
    return table


def _most_different(reports: Sequence[Report], sequences: Sequence[str]) -> dict[str, Any]:
    """Some clips in which the methods differ most, by the first column that they have, with each method's value."""
    rows = [{row["sequence"]: row for row in reversed(report["clips"])} for report in reports]  # of the first seed
    for column in COLUMNS:
        values = {name: [of_method[name].get(column.name) for of_method in rows] for name in sequences}
        spread = {name: max(some) - min(some) for name, some in values.items() if None not in some}
        if spread:
            most = sorted(spread, key=lambda name: -spread[name])[:_SHOWN]
            shown = [{"sequence": name, "values": values[name]} for name in most]
            return {"label": column.label, "digits": column.digits, "clips": shown}
    return {"label": "", "digits": 0, "clips": []}


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
    own = {name: line.pop("predictions", []) for name, line in zip(names, lines, strict=True) if line}
    return {"methods": own, "beside": lines[0]}


def comparison_text(comparison: Report) -> str:
    """The table for a terminal."""
    lines = [["metric", *map(shown, comparison["methods"])]]
    for metric in comparison["metrics"]:
        lines.append([shown(metric["label"]), *(_text(entry, metric["digits"]) for entry in metric["methods"])])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join(rows)


def _text(entry: Mapping[str, Any], digits: int) -> str:
    text = number(entry["mean"], digits)
    if "difference" in entry:
        text += f" ({entry['difference']:+.{digits}f} {entry['verdict']}".rstrip() + ")"
    return text


def write_comparison(folder: Path, comparison: Report, paths: Sequence[Path] = ()) -> None:
    """Write comparison.json and index.html into a new folder; the page has videos if `paths` name the reports.

    Raises an InputError if the folder exists.
    """
    folders = [path if path.is_dir() else path.parent for path in paths]
    reports = dict(zip(comparison["methods"], folders, strict=False))
    size, shown = (comparison["manifest"]["height"], comparison["manifest"]["width"]), comparison["most_different"]
    videos = {clip["sequence"]: video_of(reports, clip["sequence"], *size) for clip in shown["clips"] if reports}
    with new_folder(folder) as temporary:
        write_json(temporary / "comparison.json", comparison, indent=1)
        (temporary / PAGE_NAME).write_text(comparison_page(comparison, videos), encoding="utf-8")
