"""The error for everything that you can fix: commands print it as one line and exit with code 2."""

from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """An input that does not fit; the message names the file, the place in it and the fix."""


def first_line(error: BaseException) -> str:
    """The first line of what a library's error says, or its name if it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@contextmanager
def out_of_memory_advice(advice: str) -> Iterator[None]:
    """If memory runs out on the CPU or a GPU, raise an InputError that says so and gives the advice."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        said = any(words in str(error).lower() for words in ("out of memory", "allocate memory"))
        if isinstance(error, MemoryError) or said:  # torch.OutOfMemoryError is a RuntimeError
            raise InputError(f"not enough memory: {advice}") from error
        raise
