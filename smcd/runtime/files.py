"""Folders and files that appear only when they are complete."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from smcd.runtime.errors import InputError


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to write into that becomes `out` when everything succeeded; otherwise nothing is left.

    Raises:
        InputError: `out` exists and is not an empty folder, or cannot be written.
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


def check_writable(out: Path) -> None:
    """Raise an InputError where nothing can be written into a folder, which need not exist yet."""
    existing = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise InputError(f"{out}: cannot be written: {existing} is a file; choose another --output_dir")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"{out}: cannot be written: no permission for {existing}; choose another --output_dir")


@contextmanager
def new_file(out: Path) -> Iterator[Path]:
    """A file to write that becomes `out` (also in place of an old one) when everything succeeded.

    Raises:
        InputError: it cannot be written; the old one is as it was.
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
