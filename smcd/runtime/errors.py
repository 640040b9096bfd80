"""The error for everything that you can fix: commands print it as one line and exit with code 2."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

_LONGEST = 500  # characters in a line of a message
_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|.)?")  # colors, titles, the rest


class InputError(ValueError):
    """An input that does not fit; the message names the file, the place in it and the fix."""


def first_line(error: BaseException) -> str:
    """The first line of what a library's error says, or its name if it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def shown(text: str) -> str:
    """A text as a terminal may show it: what would steer it is dropped, and the middle of lines that are very long.

    The file is named in the front of a message, and the fix at its end.
    """
    lines = _ESCAPES.sub("", text).splitlines()
    lines = ["".join(c if c.isprintable() else " " if c.isspace() else "?" for c in line) for line in lines]
    half = _LONGEST // 2 - 3
    return "\n".join(line if len(line) < _LONGEST else f"{line[:half]} ... {line[-half:]}" for line in lines)


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
