"""What users upload: lies in the project's folder while it is read, and is checked before it counts."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import PIL.Image

from smcd.editor.project import UPLOAD, Image
from smcd.runtime.errors import InputError, first_line
from smcd.runtime.media import read_image

_FORMATS = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp"}  # what browsers show and smcd animate reads
_OTHERS = ("BMP",)  # what becomes a PNG


@contextlib.contextmanager
def new_folder_inside(folder: Path) -> Iterator[Path]:
    """A hidden folder that is gone at the end."""
    name = tempfile.mkdtemp(prefix=UPLOAD, dir=folder)
    try:
        yield Path(name)
    finally:
        shutil.rmtree(name, ignore_errors=True)


@contextlib.contextmanager
def received(folder: Path, data: bytes) -> Iterator[Path]:
    """A file with these bytes inside `folder`, gone at the end unless it was moved."""
    with new_folder_inside(folder) as inside:
        file = inside / "file"
        file.write_bytes(data)
        yield file


def own_image(path: Path) -> Image:
    """The image of a project on the user's disk. Raises an InputError if it cannot be read."""
    return Image(path, read_image(path).size)


def check_image(file: Path) -> Image:
    """Decode an uploaded image: the file under its right name, as PNG where browsers may not show it, and its size."""
    try:
        with PIL.Image.open(file, formats=[*_FORMATS, *_OTHERS]) as opened:
            kind = str(opened.format)
        image = read_image(file)
    except InputError as error:
        raise InputError(str(error).replace(str(file), "the image")) from None
    except Exception as error:  # a broken file can make Pillow's parsers raise anything
        raise InputError(f"this cannot be read as an image ({first_line(error).replace(str(file), 'file')})") from None
    named = file.with_name(f"img{_FORMATS.get(kind, '.png')}")
    if kind in _FORMATS:
        file.rename(named)
    else:
        image.save(named)
    return Image(named, image.size)
