"""The pages of reports and comparisons: one self-contained HTML file each."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from smcd.evaluation.metrics.pictures import Picture

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1c2430; max-width: 1240px; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem; margin-bottom: 0 } h2 { font-size: 1.15rem; margin-top: 2.2rem } p { margin: .4rem 0 }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; padding: .3rem .6rem; vertical-align: top }
thead th { border-bottom: 2px solid #1c2430; white-space: nowrap } tbody tr { border-bottom: 1px solid #dfe3e8 }
td.n { font-variant-numeric: tabular-nums; white-space: nowrap } td, th { font-size: .9rem }
td.wide { min-width: 17rem } td.lead { font-weight: 600; white-space: nowrap }
.tight td, .tight th { padding: .3rem .35rem }
.note { color: #5a6675; font-size: .88rem } .bad { color: #b3261e; font-weight: 600 } .good { color: #1b7a3d }
figure { margin: 1rem 0 1.4rem } figure img { max-width: 100% } figcaption { font-weight: 600 }
code { font-size: .85rem; word-break: break-all } .scroll { overflow-x: auto }
svg text { font: 12px system-ui, sans-serif }
"""
_LINE_COLORS = ("#0b63c4", "#b3261e", "#8e44ad", "#c77700", "#008080", "#1b7a3d")
_GRAYS = ("#1c2430", "#8a8f98")
_LEGEND = '<p class="note">Above: true frames and boxes. Below: the result, with boxes where the tracker sees them.</p>'
MISSING = "&ndash;"
Cell = tuple[str, str]  # CSS class and HTML


def document(title: str, *parts: str) -> str:
    """A whole page."""
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n' + "\n".join(parts) + "\n</body></html>\n"


def table(header: Sequence[str], rows: Iterable[Sequence[str | Cell]], style: str = "") -> str:
    """A table of a CSS class; a cell is text, or a CSS class with HTML."""
    top = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>\n" for row in rows)
    return f'<div class="scroll {style}"><table><thead><tr>{top}</tr></thead><tbody>\n{body}</tbody></table></div>'


def _cell(cell: str | Cell) -> str:
    return f"<td>{escape(cell)}</td>" if isinstance(cell, str) else f'<td class="{cell[0]}">{cell[1]}</td>'


def report_page(report: Mapping[str, Any], pictures: Mapping[str, Sequence[Picture]]) -> str:
    """The page of `report_json`'s report."""
    manifest, scored = report["manifest"], report["scored"]
    seeds = f", seeds {', '.join(map(str, scored['seeds']))}" if scored["seeds"] else ""
    tracker = report["models"].get("tracker", {}).get("name", "none")
    facts = f"{manifest['dataset']}, {scored['clips']} of {manifest['clips']} clips of {manifest['width']} x "
    facts += f"{manifest['height']} pixels{seeds}; tracker: {tracker}"
    parts = [f"<h1>{escape(report['name'])}</h1>", f"<p>{escape(facts)}</p>", *_warnings(scored)]
    parts += ["<h2>Results</h2>", _summary_table(report), _left_out(report["left_out"])]
    parts += ["<h2>Baselines: is the evaluation itself sound?</h2>", _baseline_table(report)]
    if report["iou_over_time"]:
        parts += ["<h2>IoU over time</h2>", _plot(report)]
    for heading, shown in pictures.items():
        parts += [f"<h2>{escape(heading)}</h2>", _LEGEND, *map(_figure, shown)] if shown else []
    if any(report["classes"].values()):
        parts += ["<h2>Classes</h2>", _class_table(report["classes"])]
    return document(f"{report['name']}: evaluation", *parts, "<h2>How this was made</h2>", _origin(report))


def _plot(report: Mapping[str, Any]) -> str:
    lines = dict(report["iou_over_time"])
    return line_plot({report["name"]: lines.pop("predictions")}, lines)


def _warnings(scored: Mapping[str, Any]) -> list[str]:
    lines = []
    if scored["missing"]:
        lines.append(f"only {scored['clips']} clips have predictions; missing: {', '.join(scored['missing'])}")
    if scored["formats"].get("gif"):
        lines.append("predictions are GIFs, whose 256 colors change the numbers")
    return [f'<p class="bad">{escape(line)}</p>' for line in lines]


def number(value: float | None, digits: int) -> str:
    if value is None:
        return MISSING
    return f"{value:.1e}" if 0 < abs(value) < 0.5 * 10**-digits else f"{value:.{digits}f}"


def statistic_cells(statistic: Mapping[str, Any], digits: int) -> tuple[Cell, Cell]:
    """Mean with the deviation over seeds, and the interval."""
    text = number(statistic["mean"], digits)
    text += "" if statistic["std"] is None else f" ± {number(statistic['std'], digits)}"
    interval = statistic["interval"]
    shown = MISSING if interval is None else f"{number(interval[0], digits)} … {number(interval[1], digits)}"
    return ("n lead", text), ("n", shown)


def _summary_table(report: Mapping[str, Any]) -> str:
    """Every metric beside what the true video and a still one get."""
    beside = {row["name"]: row["values"] for row in report["baselines"]}
    true, still = beside.get("true video, tracked", {}), beside.get("first frame repeated, from the boxes alone", {})
    rows: list[list[str | Cell]] = []
    for column in report["columns"]:
        name, digits, statistic = column["name"], column["digits"], report["summary"][column["name"]]
        context: list[Cell] = [("n", number(values.get(name), digits)) for values in (true, still)]
        better = "" if column["higher_is_better"] else " (lower is better)"
        convention: Cell = ("note", escape(column["convention"] + better))
        rows.append(
            [
                ("lead", escape(column["label"])),
                *statistic_cells(statistic, digits),
                str(statistic["clips"]),
                *context,
                convention,
            ]
        )
    header = ["metric", "value", "95% interval", "clips", "true video", "still video", "convention"]
    note = "± is the deviation over seeds; the interval is a bootstrap over clips."
    return table(header, rows) + f'<p class="note">{note}</p>'


def _left_out(reasons: Mapping[str, str]) -> str:
    items = "".join(f"<li><b>{escape(name)}</b>: {escape(reason)}</li>" for name, reason in reasons.items())
    return f'<p>Left out:</p><ul class="note">{items}</ul>' if items else ""


def _baseline_table(report: Mapping[str, Any]) -> str:
    """A row per baseline, a column per metric that any of them has."""
    columns = [c for c in report["columns"] if any(c["name"] in row["values"] for row in report["baselines"])]
    verdicts = {True: ("good", "as expected"), False: ("bad", "NOT as expected"), None: ("note", "")}
    rows: list[list[str | Cell]] = []
    for row in report["baselines"]:
        known = row["values"]
        values = [("n", number(known[c["name"]], c["digits"]) if c["name"] in known else "") for c in columns]
        name = f"<b>{escape(row['name'])}</b><br><span class='note'>{escape(row['expect'])}</span>"
        rows.append([("wide", name), *values, verdicts[row["as_expected"]]])
    return table(["baseline, and what to expect", *(c["label"] for c in columns), ""], rows, "tight")


def _class_table(classes: Mapping[str, Mapping[str, float]]) -> str:
    names = ("ao", "sr50", "sr75")
    rows: list[list[str | Cell]] = [
        [name, *(("n", number(values.get(key), 3)) for key in names)] for name, values in classes.items() if values
    ]
    return table(["class", "AO", "SR50", "SR75"], rows)


def _figure(picture: Picture) -> str:
    image = f'<img src="{picture.uri}" alt="true frames above, result below">'
    heading = f'<figcaption>{escape(picture.title)}</figcaption><p class="note">{escape(picture.text)}</p>'
    return f"<figure>{heading}{image}</figure>"


def _origin(report: Mapping[str, Any]) -> str:
    manifest = report["manifest"]
    rows: list[list[str | Cell]] = [["manifest SHA-256", ("", f"<code>{manifest['sha256']}</code>")]]
    rows.append(["predictions SHA-256", ("", f"<code>{report['scored']['frames_sha256']}</code>")])
    rows += [[f"videos: {name}", str(value)] for name, value in (report["generator"] or {}).items()]
    rows += [[f"convention: {name}", text] for name, text in manifest["conventions"].items()]
    for name, model in report["models"].items():
        rows.append([name, ("", " ".join(f"<code>{escape(value)}</code>" for value in model.values()))])
    rows.append(["versions", ", ".join(f"{name} {version}" for name, version in report["versions"].items())])
    return table(["", ""], rows)


def line_plot(lines: Mapping[str, Sequence[float | None]], beside: Mapping[str, Sequence[float | None]]) -> str:
    """Mean IoU over frames as inline SVG: colored lines, and dashed gray ones of `beside`; None leaves a gap."""
    width, height, left, right, top, bottom = 760, 280, 48, 510, 12, 240
    count = max(map(len, [*lines.values(), *beside.values()]))

    def at(frame: int, value: float) -> tuple[float, float]:
        x = left + (right - left) * frame / max(1, count - 1)
        return round(x, 1), round(bottom - (bottom - top) * value, 1)

    parts = [_text((left + right) / 2, height - 4, "middle", "frame"), _text(left + 4, top + 12, "start", "mean IoU")]
    for tick in (0, 0.25, 0.5, 0.75, 1):
        parts.append(f'<path d="M{left} {at(0, tick)[1]} H{right}" stroke="#dfe3e8"/>')
        parts.append(_text(left - 8, at(0, tick)[1] + 4, "end", f"{tick:g}"))
    parts += [_text(at(f, 0)[0], bottom + 18, "middle", str(f)) for f in range(0, count, max(1, count // 12))]
    drawn = [(label, line, _GRAYS[n % 2], "5 4") for n, (label, line) in enumerate(beside.items())]
    drawn += [(label, line, _LINE_COLORS[n % 6], "none") for n, (label, line) in enumerate(lines.items())]
    for n, (label, line, color, dashes) in enumerate(drawn):
        points = [at(f, value) for f, value in enumerate(line) if value is not None]
        stroke = f'stroke="{color}" stroke-width="2.2" stroke-dasharray="{dashes}" fill="none"'
        parts.append(f'<polyline points="{" ".join(f"{x},{y}" for x, y in points)}" {stroke}/>')
        parts += [f'<circle cx="{x}" cy="{y}" r="2.6" fill="{color}"/>' for x, y in points]
        row = top + 14 + 22 * n
        parts.append(f'<path d="M{right + 16} {row - 4} H{right + 44}" {stroke}/>')
        parts.append(_text(right + 52, row, "start", label))
    return f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img">{"".join(parts)}</svg>'


def _text(x: float, y: float, anchor: str, text: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'
