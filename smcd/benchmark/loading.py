"""Loading a pipeline folder in a process of its own, and how long the commands take to start."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from smcd.benchmark.measure import Row
from smcd.benchmark.networks import make_pipeline
from smcd.benchmark.settings import Settings
from smcd.runtime.errors import InputError

_ROOT = Path(__file__).parents[2]
_PROBE = """
import json, sys, time
import torch
from smcd.benchmark.memory import Peak
from smcd.convert import load_pipeline
with Peak(torch.device("cpu")) as peak:
    start = time.perf_counter()
    pipe = load_pipeline(sys.argv[1], base=sys.argv[1], dtype=getattr(torch, sys.argv[2])).to(sys.argv[3])
    networks = [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]
    for parameter in (parameter for part in networks for parameter in part.parameters()):
        parameter.sum()  # files are mapped: a weight is read when it is first used
    seconds = time.perf_counter() - start
print(json.dumps([seconds, peak.above]))
"""


def load(settings: Settings) -> list[Row]:
    """Seconds and peak of resident memory, above what the imports take, until every weight has been read once.

    Then the seconds of a command's `--help`.

    The folder was just written, so that it is read from the system's cache, not from the disk.
    """
    loading, start = Row("loading", peak=0), Row("inference_customize.py --help")
    with tempfile.TemporaryDirectory() as folder:
        pipe = make_pipeline(settings.size, settings.dtype)
        pipe.save_pretrained(folder)
        del pipe
        weights = sum(path.stat().st_size for path in Path(folder).rglob("*.safetensors"))
        for repeat in range(settings.config.repeats + 1):
            seconds, peak = json.loads(_probe(folder, settings))
            loading.peak = max(loading.peak or 0, peak)
            if repeat:
                loading.seconds.append(seconds)
    loading.notes = {"GiB of weights": weights / 2**30, "peak, x weights": (loading.peak or 0) / weights}
    command = _ROOT / "inference_customize.py"
    if not command.is_file():  # installed without the commands
        return [loading]
    for repeat in range(settings.config.repeats + 1):
        begin = time.perf_counter()
        subprocess.run([sys.executable, command, "--help"], check=True, capture_output=True, cwd=_ROOT)
        if repeat:
            start.seconds.append(time.perf_counter() - begin)
    return [loading, start]


def _probe(folder: str, settings: Settings) -> str:
    dtype = str(settings.dtype).removeprefix("torch.")
    command = [sys.executable, "-c", _PROBE, folder, dtype, str(settings.device)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=_ROOT)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]  # killed, it says nothing
        raise InputError(f"loading failed: {said[-1]}")
    return done.stdout.splitlines()[-1]
