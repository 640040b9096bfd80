"""The error for everything that a user can mend: commands print it as one line and exit with code 2."""

from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """An input that does not fit; the message names the file, the place in it and the fix."""


def first_line(error: BaseException) -> str:
    """What an error of a library says, in one line: its first one, or its name where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@contextmanager
def out_of_memory_advice(advice: str) -> Iterator[None]:
    """Where memory runs out, the CPU's or a GPU's, raise an InputError that says so and gives the advice."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        said = any(words in str(error).lower() for words in ("out of memory", "allocate memory"))
        if isinstance(error, MemoryError) or said:  # torch.OutOfMemoryError is a RuntimeError
            raise InputError(f"not enough memory: {advice}") from error
        raise
