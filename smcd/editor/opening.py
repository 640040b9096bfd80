"""Opening a file: a project's zip, a file of boxes of ours, or one of another tool; and making the zip."""

import io
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path, PurePosixPath

from smcd.config import ModelConfig, yaml_text
from smcd.editor import other_tools
from smcd.editor.boxes import check_objects, read_bboxes
from smcd.editor.project import BBOXES, CONFIG, LOOKS, OBJECTS, Contents, read_contents
from smcd.editor.settings import Settings
from smcd.editor.uploads import check_image
from smcd.runtime.errors import InputError
from smcd.runtime.files import read_json, read_text
from smcd.runtime.media import IMAGE_SUFFIXES

_MOST_FILES, _MOST_BYTES = 10_000, 200 << 20  # in a zip; unpacked
_WANTED = {OBJECTS, BBOXES, CONFIG, LOOKS, *(f"img{suffix}" for suffix in IMAGE_SUFFIXES)}


def open_file(file: Path, name: str, size: tuple[int, int] | None, settings: Settings) -> Contents:
    """What an uploaded file holds. Raises an InputError in one line, which names the file as the user does.

    Args:
        file: where it lies; files beside it belong to it alone.
        name: what the user calls it.
        size: width and height of the project's image, in whose pixels boxes are; None if there is none yet.
        settings: those of the project.
    """
    named = file.with_name(f"upload{PurePosixPath(name).suffix.lower()[:10]}")
    file.rename(named)
    try:
        if zipfile.is_zipfile(named):
            return _open_zip(named)
        if size is None:
            raise InputError("boxes need their image: open that first")
        return _read_boxes(named, size, settings)
    except InputError as error:
        unpacked = str(named.with_name("unpacked"))
        said = str(error).replace(f"{unpacked}/", "").replace(unpacked, name).replace(str(named), name)
        raise InputError(said if said.startswith(name) else f"{name}: {said}") from None


def _read_boxes(path: Path, size: tuple[int, int], settings: Settings) -> Contents:
    text = read_text(path)
    if path.suffix == ".json" or text.lstrip()[:1] in ("[", "{"):
        content = read_json(path, object)
        if isinstance(content, dict):
            paths = other_tools.read_coco(content, size)
        elif other_tools.is_points(content):
            paths = other_tools.read_points(content, size, settings.num_frames)
        else:
            return Contents(None, check_objects(content), None)
    elif other_tools.looks_like_mot(path, text):
        paths = other_tools.read_mot(text)
    else:
        objects, frames = read_bboxes(path, settings.num_frames, size)
        return Contents(None, objects, replace(settings, num_frames=frames))
    objects = other_tools.objects_of_paths(paths, settings.num_frames, other_tools.TOLERANCE)
    return Contents(None, check_objects(objects), None)


def _open_zip(path: Path) -> Contents:
    """Unpack what a project needs, and nothing else, beside the zip.

    No path of the zip is used, so that nothing can be written elsewhere; what claims to be elsewhere is refused.
    """
    folder = path.with_name("unpacked")
    folder.mkdir()
    try:
        with zipfile.ZipFile(path) as file:
            entries = file.infolist()
            if any(_elsewhere(entry.filename) for entry in entries):
                raise InputError("names files outside of its folder; it is not opened")
            if len(entries) > _MOST_FILES or sum(entry.file_size for entry in entries) > _MOST_BYTES:
                raise InputError(f"unpacks to more than {_MOST_BYTES >> 20} MB; it is not opened")
            places = [PurePosixPath(entry.filename) for entry in entries]
            tops = {place.parent for place in places if place.name in _WANTED}
            if not tops:
                raise InputError(f"holds no project: neither an image img.png nor {OBJECTS}")
            top = min(tops, key=lambda each: len(each.parts))
            for place, entry in zip(places, entries, strict=True):
                if place.parent == top and place.name in _WANTED and not entry.is_dir():
                    (folder / place.name).write_bytes(file.read(entry))
    except InputError:
        raise
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError, ValueError) as error:
        raise InputError(f"cannot be unpacked ({error})") from None
    return read_contents(folder, check_image)


def _elsewhere(name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or ":" in name or "\0" in name


def make_zip(files: Mapping[str, bytes | Path]) -> bytes:
    """A zip of these files by name; pictures and videos are compressed already."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name, content in files.items():
            file.writestr(name, content.read_bytes() if isinstance(content, Path) else content)
    return stream.getvalue()


def project_zip(folder: Path, settings: Settings, model: ModelConfig) -> bytes:
    """A zip of a project: `smcd animate --config config.yaml` in the folder that it unpacks to makes its video."""
    files: dict[str, bytes | Path] = {path.name: path for path in folder.iterdir() if path.name in _WANTED - {CONFIG}}
    return make_zip(files | {CONFIG: yaml_text(asdict(settings.config(model, Path("."), Path("video")))).encode()})
