"""The error for everything that a user can mend: commands print it as one line and exit with code 2."""


class InputError(ValueError):
    """An input that does not fit; the message names the file, the place in it and the fix."""


def first_line(error: BaseException) -> str:
    """What an error of a library says, in one line: its first one, or its name where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
