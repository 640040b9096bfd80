"""Folders and files that appear only when they are complete; text and JSON files."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from smcd.runtime.errors import InputError


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to write into that becomes `out` when everything succeeded; otherwise nothing is left.

    Raises an InputError if `out` exists and is not an empty folder, or cannot be written.
    """
    out = out.expanduser().absolute()
    check_new(out)
    new_parents = [parent for parent in out.parents if not parent.exists()]
    temporary = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        with _writing(out):
            temporary.mkdir(parents=True)
            yield temporary
            for path in (*temporary.rglob("*"), temporary):
                sync(path)
            if out.is_dir():
                out.rmdir()
            temporary.rename(out)
            sync(out.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        for parent in new_parents:
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()


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
    temporary = out.with_name(f".{out.stem}.{os.getpid()}.partial{out.suffix}")
    try:
        with _writing(out):
            out.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            sync(temporary)
            temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)


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


def read_json(path: Path, kind: type = dict) -> Any:
    """The content of a JSON file that holds an object, or a list (`kind`), and gives no key twice.

    Raises an InputError naming the line if the file is missing or holds something else.
    """
    text = read_text(path)
    try:
        content = json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: is not JSON ({error.msg}); was it cut off?") from None
    except RecursionError:
        raise InputError(f"{path}: is nested too deeply") from None
    except ValueError as error:  # a key that is given twice, a number of thousands of digits
        raise InputError(f"{path}: {error}") from None
    if not isinstance(content, kind):
        raise InputError(f"{path}: should be a JSON {'object' if kind is dict else 'list'}")
    return content


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f'key "{next(name for name in names if names.count(name) > 1)}" is given twice')
    return content


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
