"""Names of files and folders that come from files: they must stay where they belong."""

import re

from smcd.runtime.errors import InputError

_LONGEST = 255  # bytes of a name that file systems take
_ASTRAY = re.compile(
    r"(^|/)\.{0,2}(/|$)"  # an absolute path, or a part that is empty, . or ..
    r"|^[A-Za-z]:|\\"  # a drive, or the separator, of Windows
    r"|[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]"  # line breaks and escapes, and half a character
)


def stays_inside(path: str) -> bool:
    """Whether a path, with / between its names, is one below a folder, and its names are plain ones."""
    return not _ASTRAY.search(path) and all(len(name.encode()) <= _LONGEST for name in path.split("/"))


def check_inside(path: str, where: str) -> None:
    """Raise an InputError unless a path `stays_inside`; `where` is the file that gives it, for the message."""
    if not stays_inside(path):
        raise InputError(f"{where}: {path[:80]!r} is not the path of a file in its folder, such as walk/00001.jpg")
