"""Timing: one piece of work, or several by turns."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from smcd.benchmark.flops import synchronize
from smcd.benchmark.memory import Peak

logger = logging.getLogger(__name__)

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
    logger.info(f"warming up: {', '.join(works)}")
    for name, work in works.items():
        with Peak(device) as memory:
            work()
        rows[name].peak = memory.above
    for _ in range(repeats):
        for name, work in works.items():
            if device.type == "cuda":
                with Peak(device) as memory:
                    seconds = _timed(work, device)
                rows[name].peak = memory.above
            else:
                seconds = _timed(work, device)
            rows[name].seconds.append(seconds)
    return rows


def _timed(work: Work, device: torch.device) -> float:
    synchronize(device)
    start = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - start
