"""The error for everything that a user can mend: commands print it as one line and exit with code 2."""


class InputError(ValueError):
    """An input that does not fit; the message names the file, the place in it and the fix."""
