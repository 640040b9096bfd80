"""The numbers as a table and as JSON."""

import dataclasses
import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffusers
import torch

from smcd.benchmark.measure import Row
from smcd.config import BenchmarkConfig

_COLUMNS = ("", "seconds", "quartiles", "x first", "TFLOP", "x first", "floor s", "of ceiling", "peak GiB")


def environment(device: torch.device) -> dict[str, Any]:
    """Of what the numbers depend on besides the config."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "device": f"{device.type}: {name}",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
    }


def table(rows: Sequence[Row]) -> str:
    """One line for each row; times and FLOPs also as multiples of the first row's. Empty columns are left out."""
    names = list(dict.fromkeys(name for row in rows for name in row.notes))
    lines = [(*_COLUMNS, *names)]
    lines += [(*_cells(row, rows[0]), *(_short(row.notes.get(name, "")) for name in names)) for row in rows]
    filled = [column for column in zip(*lines, strict=True) if any(column[1:])]
    return _aligned(list(zip(*filled, strict=True)))


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    """Cells in columns, the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _cells(row: Row, first: Row) -> tuple[str, ...]:
    seconds = quartiles = times = flops = more = floor = share = peak = ""
    if row.seconds:
        seconds, quartiles = _short(row.median), f"{_short(row.quartile(0.25))}-{_short(row.quartile(0.75))}"
        times = f"{row.median / first.median:.2f}" if first.seconds else ""
    if row.flops:
        flops = f"{row.flops / 1e12:.4g}"
        more = f"{row.flops / first.flops:.2f}" if first.flops else ""
    if row.floor and row.seconds:
        floor, share = _short(row.floor), f"{row.floor / row.median:.0%}"
    if row.peak is not None:
        peak = f"{row.peak / 2**30:.3f}"
    return row.name, seconds, quartiles, times, flops, more, floor, share, peak


def _short(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.3g}"


def write_json(path: Path, config: BenchmarkConfig, device: torch.device, rows: Sequence[Row]) -> None:
    """Config, environment and rows; "seconds" holds every repeat."""
    content = {
        "config": dataclasses.asdict(config),
        "environment": environment(device),
        "rows": [
            dataclasses.asdict(row)
            | {"floor": row.floor}
            | ({"median": row.median, "quartiles": [row.quartile(0.25), row.quartile(0.75)]} if row.seconds else {})
            for row in rows
        ],
    }
    path.write_text(json.dumps(content, indent=1))
