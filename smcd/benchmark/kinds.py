"""Which kinds of operations a guided step spends its time on, by torch's profiler."""

from collections import Counter

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from smcd.benchmark.calls import guided_works
from smcd.benchmark.measure import Row, Work
from smcd.benchmark.settings import Settings

_KINDS = {  # parts of the operations' names; the first kind that fits counts
    "convolutions": ("convolution",),
    "attention": ("attention", "softmax"),
    "linear layers": ("linear", "mm", "matmul"),
    "norms": ("norm",),
    "copies": ("copy", "clone", "cat", "repeat"),
    "element by element": ("gelu", "silu", "mul", "add", "sub", "div"),
}
_REST = "the rest"


def kinds(settings: Settings) -> list[Row]:
    """Shares of the time of each work's second run, as it is without compiling."""
    rows = []
    for name, work in guided_works(settings).items():
        work()
        shares = _shares(work, settings.device)
        rows.append(Row(name, notes={kind: f"{shares[kind]:.0%}" for kind in (*_KINDS, _REST)}))
    return rows


def _shares(work: Work, device: torch.device) -> dict[str, float]:
    on_gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as profiler:
        work()
    times: Counter[str] = Counter()
    for event in profiler.key_averages():
        if event.device_type == DeviceType.CPU:  # what ran on a GPU counts for the operation that asked for it
            times[kind_of(event.key)] += event.self_device_time_total if on_gpu else event.self_cpu_time_total
    return {kind: times[kind] / times.total() for kind in (*_KINDS, _REST)}


def kind_of(operation: str) -> str:
    """The kind of an operation of this name."""
    return next((kind for kind, parts in _KINDS.items() if any(part in operation for part in parts)), _REST)
