"""From a config to a table, and the files that were asked for."""

import logging
from pathlib import Path

from smcd.benchmark.calls import call, sweep
from smcd.benchmark.clips import clip, memory, vae
from smcd.benchmark.kinds import kinds
from smcd.benchmark.loading import load
from smcd.benchmark.picture import bars, lines
from smcd.benchmark.precision import precision
from smcd.benchmark.report import environment, table, write_json
from smcd.benchmark.settings import settle
from smcd.benchmark.training import train
from smcd.config import BenchmarkConfig
from smcd.runtime.allocation import keep_freed_memory
from smcd.runtime.processes import shared_work

logger = logging.getLogger(__name__)

_WORKS = {
    "call": call,
    "profile": kinds,
    "clip": clip,
    "train": train,
    "vae": vae,
    "load": load,
    "memory": memory,
    "precision": precision,
}


def run(config: BenchmarkConfig) -> None:
    """Measure, print the table, and write `json` and `picture`.

    Raises:
        InputError: an option that cannot be, or too little memory.
    """
    settings = settle(config)
    about = {"what": config.what, "size": settings.size, "dtype": config.dtype} | environment(settings.device)
    about["layout"] = _layout(settings.channels_last)
    if config.vs:
        about["base"] = f"{config.base_dtype or config.dtype}, {_layout(settings.base_channels_last)}"
    print("; ".join(f"{name} {value}" for name, value in about.items()))
    if settings.device.type == "cpu" and config.keep_memory and config.what != "memory":
        keep_freed_memory()
    with shared_work("try --size tiny, --low_memory, fewer --frames, --pixels or --batch, or --dtype bfloat16"):
        rows = sweep(settings) if config.sweep else _WORKS[config.what](settings)
    print(table(rows))
    if config.json:
        write_json(Path(config.json), config, settings.device, rows)
    if config.picture:
        draw = lines if config.sweep else bars
        draw(rows, Path(config.picture))


def _layout(channels_last: bool) -> str:
    return f"channels {'last' if channels_last else 'first'}"
