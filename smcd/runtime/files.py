"""Folders and files that appear only when they are complete; text and JSON files."""

import errno
import glob
import json
import logging
import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from smcd.runtime.errors import InputError

logger = logging.getLogger(__name__)

_MOST_DIGITS = 300  # of an integer in a JSON file: with more, it could not become a float
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")  # as JSON spells it
_HALF = re.compile(r"\\u[dD][89a-fA-F]")  # what may be half a character


@contextmanager
def new_folder(out: Path, replace: bool = False) -> Iterator[Path]:
    """A folder to write into that becomes `out` when everything succeeded; otherwise nothing is left.

    Raises an InputError if `out` exists and is not an empty folder (unless it is to be replaced), or cannot be written.
    """
    out = out.expanduser().absolute()
    if not replace:
        check_new(out)
    with _new_parents(out), _writing(out), hidden(out) as temporary:
        yield temporary
        for path in (*temporary.rglob("*"), temporary):
            sync(path)
        if out.is_dir() and any(out.iterdir()):
            with hidden(out) as old:
                try:
                    out.rename(old)
                    temporary.rename(out)
                finally:
                    if not out.exists():  # Ctrl-C came between the two
                        old.rename(out)
        else:
            temporary.rename(out)
        sync(out.parent)


@contextmanager
def _new_parents(path: Path) -> Iterator[None]:
    """Delete the folders above a path that were made inside the block, as far as they are empty at its end."""
    new = [parent for parent in path.absolute().parents if not parent.exists()]
    try:
        yield
    finally:
        for parent in new:
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()


@contextmanager
def hidden(out: Path, is_folder: bool = True) -> Iterator[Path]:
    """A new folder, or file, with a hidden name beside `out`; at the end it is deleted unless it was renamed.

    It stays locked as long as this process lives. What killed processes left of the same `out` has no lock, and goes.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    hexadecimal, (stem, end) = "[0-9a-f]" * 8, (glob.escape(out.stem), glob.escape(out.suffix))
    for left in out.parent.glob(f".{stem}.{hexadecimal}.partial{end}"):
        with suppress(OSError, ImportError), _held(left):  # a BlockingIOError tells of a process that lives
            _delete(left)
    temporary = out.with_name(f".{out.stem}.{secrets.token_hex(4)}.partial{out.suffix}")
    temporary.mkdir() if is_folder else temporary.touch(exist_ok=False)
    try:
        with ExitStack() as lock:
            with suppress(OSError, ImportError):  # some network drives have no locks: there, what is left stays
                lock.enter_context(_held(temporary))
            yield temporary
    finally:
        _delete(temporary)


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Hold the lock of a file or folder; the system frees it when the process ends, however it ends."""
    import fcntl  # Windows has none

    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a folder, which is made where it is missing, to this process, until it leaves the block or dies.

    Raises an InputError if another process has it, also one of another container or machine that shares the disk.
    """
    path = folder / ".lock"
    with _new_parents(path):
        folder.mkdir(parents=True, exist_ok=True)
        file = _lock(path)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            file.close()


def _lock(path: Path) -> IO[str]:
    """The open file that holds the lock, which no process forked from this one keeps (as it would one of `flock`)."""
    while True:
        file = path.open("a+", encoding="utf-8")
        try:
            import fcntl

            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (OSError, ImportError) as error:  # Windows has no fcntl
            if getattr(error, "errno", None) not in (errno.EACCES, errno.EAGAIN):
                logger.warning(f"{path}: files cannot be locked here ({error}): see that no other run writes here")
                return file
            file.seek(0)
            owner = file.read()
            raise InputError(f"{path.parent}: another run{owner} is writing here; wait for it, or stop it") from None
        with suppress(FileNotFoundError):
            if os.path.samefile(path, file.fileno()):  # not that of a run that has just ended, and deleted it
                file.truncate(0)
                file.write(f" (process {os.getpid()} on {socket.gethostname()})")
                file.flush()
                return file
        file.close()


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def check_new(out: Path) -> None:
    """Raise an InputError where `out` exists and is not an empty folder."""
    out = out.expanduser().absolute()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: exists already; choose another place or delete it")


def check_writable(out: Path, option: str = "--output_dir") -> None:
    """Raise an InputError where nothing can be written into a folder, which need not exist yet; `option` names it."""
    existing = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        reason = f"no permission for {existing}" if existing.is_dir() else f"{existing} is a file"
        raise InputError(f"{out}: cannot be written: {reason}; choose another {option}")


@contextmanager
def new_file(out: Path) -> Iterator[Path]:
    """A file to write that becomes `out` (also in place of an old one) when everything succeeded.

    Raises an InputError if it cannot be written; the old one is as it was.
    """
    with _writing(out), hidden(out, is_folder=False) as temporary:
        yield temporary
        sync(temporary)
        temporary.replace(out)


def read_text(path: Path) -> str:
    """The text of a file in UTF-8. Raises an InputError if the file is missing or holds no text."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: is missing; see docs/data.md and docs/evaluation.md for what lies where") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not a text file in UTF-8; save it again as plain text") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def encodable(text: str) -> bool:
    """Whether a text can be written in UTF-8: half a character, of a broken terminal or file, cannot."""
    return text == text.encode("utf-8", "ignore").decode()


def read_json(path: Path, kind: type = dict) -> Any:
    """The content of a JSON file. Raises an InputError if the file is missing, or as `parse_json` does."""
    return parse_json(read_text(path), str(path), kind)


def parse_json(text: str, where: str, kind: type = dict) -> Any:
    """The content of a JSON text that holds an object, or a list (`kind`).

    Raises an InputError naming the line for what is not JSON, and for what would fail later: a key that is given twice,
    nesting of a thousand levels, a number beyond those of floats, and texts with NUL or half a character.
    """
    try:
        content = json.loads(text, object_pairs_hook=_unique, parse_int=_integer)
    except json.JSONDecodeError as error:
        raise InputError(f"{where}:{error.lineno}: is not JSON ({_explained(text, error)})") from None
    except RecursionError:
        raise InputError(f"{where}: is nested too deeply") from None
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None
    if found := _NUL.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise InputError(f"{where}:{line}: holds the character NUL (\\u0000), which no name or text may")
    if _HALF.search(text):
        try:
            json.dumps(content, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            half = f"\\u{ord(error.object[error.start]):x}"
            raise InputError(f"{where}: holds half a character ({half} without its other half)") from None
    if not isinstance(content, kind):
        raise InputError(f"{where}: should be a JSON {'object' if kind is dict else 'list'}")
    return content


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f'key "{twice[:100]}" is given twice')
    return content


def _integer(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"holds a number of {len(digits)} digits, which is too large")
    return int(digits)


def _explained(text: str, error: json.JSONDecodeError) -> str:
    """What is wrong, where Python's parser says it in other words."""
    before = text[: error.pos].rstrip(" \t\r\n,")
    if found := re.compile(r"\s*,\s*([]}])").match(text, len(before)):
        return f"delete the comma before the {found[1]}"
    is_whole = text[error.pos :].strip() and not error.msg.startswith("Unterminated")
    return error.msg if is_whole else f"{error.msg}; was it cut off?"


def write_json(path: Path, content: Any, indent: int | None = None) -> None:
    """Write a JSON file whole or not at all. Raises an InputError for NaN and infinity, which JSON does not know."""
    with new_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        try:
            json.dump(content, file, indent=indent, ensure_ascii=False, allow_nan=False)
        except ValueError as error:
            raise InputError(f"{path}: cannot be written ({error})") from None
        file.write("\n")


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk: they outlast a power cut from then on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    """A full disk, or a place where nothing may be written, becomes an InputError; libraries name them differently."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if isinstance(error, OSError) or "I/O error" in str(error) or "No space left" in str(error):
            raise InputError(f"{out}: cannot be written ({error}); choose another place or make room") from error
        raise
