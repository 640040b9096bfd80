"""The most memory that a piece of work takes above what was in use before it."""

import ctypes
import resource
import sys
from contextlib import suppress
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")


def resident(field: str = "VmHWM") -> int:
    """Bytes of this process: resident now ("VmRSS"), or at most so far ("VmHWM")."""
    if _STATUS.exists():
        lines = _STATUS.read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class Peak:
    """While it is entered, watches memory: of the GPU what torch allocates, otherwise what is resident.

    Attributes:
        above: the most bytes above those at the start.
        total: the most bytes, with what was there at the start.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.above = self.total = 0

    def __enter__(self) -> "Peak":
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            self._before = torch.cuda.memory_allocated(self.device)
        else:
            with suppress(OSError, AttributeError):  # glibc: what ran before gives back what it kept
                ctypes.CDLL(None).malloc_trim(0)
            with suppress(OSError):  # Linux: forget the mark of what ran before
                Path("/proc/self/clear_refs").write_text("5")
            self._before = resident("VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        cuda = self.device.type == "cuda"
        self.total = torch.cuda.max_memory_allocated(self.device) if cuda else resident()
        self.above = max(0, self.total - self._before)
