"""The pages of reports and comparisons: one self-contained HTML file each, from the template `pages.html.jinja`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from smcd.evaluation.metrics.baselines import CEILING, STATIC
from smcd.evaluation.metrics.columns import FEW, GROUNDING
from smcd.evaluation.metrics.pictures import Picture, Video

MISSING = "\N{EN DASH}"
_LINE_COLORS = ("#0b63c4", "#b3261e", "#8e44ad", "#c77700", "#008080", "#1b7a3d")
_GRAYS = ("#1c2430", "#8a8f98")
_PLOT = {"left": 48, "right": 510, "top": 12, "bottom": 240}  # edges of the drawn area, in pixels
Line = Sequence[float | None]


def report_page(report: Mapping[str, Any], pictures: Mapping[str, Sequence[Picture]]) -> str:
    """The page of `report_json`'s report."""
    values = {row["name"]: row["values"] for row in report["baselines"]}
    lines = dict(report["iou_over_time"])
    plot = _plot({report["name"]: lines.pop("predictions")}, lines) if lines else None
    beside = {"true video": values.get(CEILING, {}), "still video": values.get(STATIC, {})}
    columns = [c for c in report["columns"] if any(c["name"] in some for some in values.values())]  # of the baselines
    return _render(report=report, pictures=pictures, beside=beside, columns=columns, plot=plot, class_columns=GROUNDING)


def comparison_page(comparison: Mapping[str, Any], videos: Mapping[str, Video | None]) -> str:
    """The page of `compare`'s comparison, and the videos of its most different clips."""
    lines = comparison["iou_over_time"]
    plot = _plot(lines["methods"], lines["beside"]) if lines["methods"] else None
    first, *others = comparison["methods"]
    header = ["metric", *(title for name in (first, *others) for title in (name, "95% interval"))]
    header += [f"{name} - {first}" for name in others]
    return _render(report=None, comparison=comparison, header=header, plot=plot, videos=videos, few=FEW)


def number(value: float | None, digits: int) -> str:
    """A value for a table; one that would round to zero is shown by its magnitude."""
    if value is None:
        return MISSING
    return f"{value:.1e}" if 0 < abs(value) < 0.5 * 10**-digits else f"{value:.{digits}f}"


def _render(**content: Any) -> str:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(Path(__file__).with_suffix(".html.jinja").read_text(encoding="utf-8"))
    return template.render(number=number, missing=MISSING, edges=_PLOT, **content).lstrip() + "\n"


def _plot(lines: Mapping[str, Line], beside: Mapping[str, Line]) -> dict[str, Any]:
    """Mean IoU over frames: colored lines, and dashed gray ones of `beside`, in pixels; None leaves a gap."""
    count = max(map(len, [*lines.values(), *beside.values()]))

    def x(frame: int) -> float:
        return round(_PLOT["left"] + (_PLOT["right"] - _PLOT["left"]) * frame / max(1, count - 1), 1)

    def y(value: float) -> float:
        return round(_PLOT["bottom"] - (_PLOT["bottom"] - _PLOT["top"]) * value, 1)

    drawn = [(label, line, _GRAYS[n % 2], "5 4") for n, (label, line) in enumerate(beside.items())]
    drawn += [(label, line, _LINE_COLORS[n % 6], "none") for n, (label, line) in enumerate(lines.items())]
    curves = [
        {"label": label, "color": color, "dashes": dashes}
        | {"points": [(x(f), y(value)) for f, value in enumerate(line) if value is not None]}
        for label, line, color, dashes in drawn
    ]
    frames = range(0, count, max(1, count // 12))
    ticks = {f"{value:g}": y(value) for value in (0, 0.25, 0.5, 0.75, 1)}
    return {"frames": {frame: x(frame) for frame in frames}, "values": ticks, "curves": curves}
