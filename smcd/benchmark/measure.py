"""Timing: one piece of work, or several by turns."""

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch

from smcd.benchmark.flops import synchronize
from smcd.benchmark.memory import Peak

Work = Callable[[], object]


@dataclass
class Row:
    """What was measured of one piece of work.

    Attributes:
        seconds: of every repeat.
        flops: operations, where they were counted.
        ceiling: operations a second of a large matrix product in the same dtype.
        peak: bytes above what was in use before.
        notes: anything else, by name.
    """

    name: str
    seconds: list[float] = field(default_factory=list)
    flops: int | None = None
    ceiling: float | None = None
    peak: int | None = None
    notes: dict[str, float | str] = field(default_factory=dict)

    def quartile(self, share: float) -> float:
        return float(np.quantile(self.seconds, share))

    @property
    def median(self) -> float:
        return self.quartile(0.5)

    @property
    def floor(self) -> float | None:
        """Seconds of as many operations in a large matrix product."""
        return self.flops / self.ceiling if self.flops and self.ceiling else None


def by_turns(works: Mapping[str, Work], repeats: int, device: torch.device) -> dict[str, Row]:
    """Each work once to warm up, then A B A B ...: what else the machine does meets all of them alike.

    Memory on a CPU is that of the first run: later ones find what the allocator kept.
    """
    rows = {name: Row(name) for name in works}
    for name, work in works.items():
        with Peak(device) as memory:
            work()
        rows[name].peak = memory.above
    for _ in range(repeats):
        for name, work in works.items():
            with Peak(device) if device.type == "cuda" else nullcontext() as memory:
                start = time.perf_counter()
                work()
                synchronize(device)
                rows[name].seconds.append(time.perf_counter() - start)
            if memory is not None:
                rows[name].peak = memory.above
    return rows
