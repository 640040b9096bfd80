"""The memory allocator of long computations on a CPU."""

import ctypes
from contextlib import suppress

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # glibc's names, malloc.h
_LARGEST = 2**31 - 1


def keep_freed_memory() -> None:
    """Let this process keep memory that it frees for the next tensors; without glibc, nothing.

    glibc gives every block above 32 MiB back at once, and the next one comes page by page from the system, which for a
    large network can take a good part of the time. Between peaks the memory is not given back.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_MAX, 0)
        mallopt(_MMAP_THRESHOLD, _LARGEST)
        mallopt(_TRIM_THRESHOLD, _LARGEST)
