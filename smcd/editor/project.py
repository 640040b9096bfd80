"""A project: a folder that `smcd animate` reads, saved as it changes.

`img.*` and `objects.json` are the input, `config.yaml` the options, `editor.json` what the page alone needs, and
`results/` the videos.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from smcd.config import CustomizeConfig, ModelConfig
from smcd.editor.boxes import Objects, animated, check_objects, fitted, merged, read_bboxes
from smcd.editor.settings import Settings, read_settings, write_config
from smcd.runtime.errors import InputError
from smcd.runtime.files import check_writable, read_json, write_json
from smcd.runtime.media import IMAGE_SUFFIXES

UPLOAD = ".upload-"  # how the folders begin in which files lie while they are read
BBOXES, OBJECTS, CONFIG, LOOKS = "bbox.txt", "objects.json", "config.yaml", "editor.json"


class Image(NamedTuple):
    """The project's image: where it lies, and its width and height as a viewer shows it."""

    path: Path
    size: tuple[int, int]


class Changed(Exception):  # noqa: N818  # no failure: another tab was faster
    """The project is newer than the one that a change was made to."""


class Project:
    """What the folder holds. Every change is on the disk when the method that makes it returns.

    Args:
        folder: made if it is not there.
        model: the options of the model, which `config.yaml` is to hold.
        decode: reads an image file; see `read_contents`.

    Raises an InputError if the folder holds something else than a project.
    """

    def __init__(self, folder: Path, model: ModelConfig, decode: Callable[[Path], Image]):
        check_writable(folder, "folder")
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(f"{UPLOAD}*"):  # by a server that was killed
            shutil.rmtree(left, ignore_errors=True)
        self.folder, self.model = folder.absolute(), model
        self.settings = Settings.of(CustomizeConfig(validation_data=model.validation_data))
        contents = read_contents(self.folder, decode)
        self.image, self.objects = contents.image, contents.objects
        self.settings = (contents.settings or self.settings).with_options(model.validation_data)
        revision = read_json(self.folder / LOOKS).get("revision") if (self.folder / LOOKS).is_file() else 0
        self.revision = revision if isinstance(revision, int) else 0

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def state(self) -> dict[str, Any]:
        """The project in JSON."""
        image = None
        if self.image is not None:
            width, height = self.image.size
            url = f"/api/image?v={self.image.path.stat().st_mtime_ns}"  # another one for another image
            image = {"url": url, "name": self.image.path.name, "width": width, "height": height}
        settings = asdict(self.settings)
        return {"revision": self.revision, "image": image, "objects": self.objects, "settings": settings}

    def update(self, revision: Any, objects: Any, settings: Any) -> None:
        """Take objects and settings of the page, which it made of `revision`. Raises `Changed` if that is old."""
        objects, settings = check_objects(objects), Settings.parse(settings)
        if revision != self.revision:
            raise Changed
        self._set(self.image, objects, settings)

    def set_image(self, image: Image) -> None:
        """Take a new image (a file that is moved here); boxes that would lie outside are scaled to it."""
        objects = fitted(self.objects, self.image.size, image.size) if self.image else self.objects
        self.replace(Contents(image, objects, None))

    def add(self, objects: Objects, image: Image | None) -> None:
        """Add objects, with the image that they are on if it is to be the project's from now on."""
        before = self.objects
        if image is not None and self.image is not None:
            before = fitted(before, self.image.size, image.size)
        self.replace(Contents(image, merged(before, objects), None))

    def replace(self, contents: "Contents") -> None:
        """Take other contents, whose image is moved here; what they lack stays.

        What was there before lies in `earlier/` from then on, as a project that can be opened.
        """
        if self.objects and self.image is not None:
            self.copy_to(self.folder / "earlier" / f"{datetime.now():%Y%m%d-%H%M%S-%f}", self.settings)
        image = self.image
        if contents.image is not None:
            path = self.folder / f"img{contents.image.path.suffix.lower()}"
            if image is not None and image.path != path:
                image.path.unlink(missing_ok=True)
            os.replace(contents.image.path, path)
            image = Image(path, contents.image.size)
        self._set(image, contents.objects, contents.settings or self.settings)

    def _set(self, image: Image | None, objects: Objects, settings: Settings) -> None:
        save(self.folder, objects, settings.config(self.model, self.folder, self.folder / "video"), self.revision + 1)
        self.image, self.objects, self.settings = image, objects, settings
        self.revision += 1

    def copy_to(self, folder: Path, settings: Settings, **changes: Any) -> None:
        """Write the project as it is into another folder, with these settings and options of `smcd animate`."""
        folder.mkdir(parents=True)
        if self.image is not None:
            shutil.copyfile(self.image.path, folder / self.image.path.name)
        save(folder, self.objects, settings.config(self.model, folder, folder, **changes))


def save(folder: Path, objects: Objects, config: CustomizeConfig, revision: int = 0) -> None:
    """Write all of a project but its image; each file whole or not at all."""
    write_objects(folder, objects)
    write_config(folder / CONFIG, config)
    looks = [{key: item[key] for key in ("color", "hidden") if key in item} for item in objects]
    write_json(folder / LOOKS, {"revision": revision, "objects": looks})


def write_objects(folder: Path, objects: Objects) -> None:
    """Write `objects.json`, whole or not at all; a `bbox.txt` gets another name."""
    write_json(folder / OBJECTS, animated(objects))
    if (folder / BBOXES).is_file():
        (folder / BBOXES).replace(folder / f"{BBOXES}.old")  # smcd animate refuses to choose between the two


class Contents(NamedTuple):
    """What a folder of a project, or a file of another tool, gives."""

    image: Image | None
    objects: Objects
    settings: Settings | None


def read_contents(folder: Path, decode: Callable[[Path], Image]) -> Contents:
    """Read a folder as `smcd animate` does, but half-made ones too. Raises an InputError for a broken file.

    `decode` reads an image file, which it may rename, and gives its size; it raises an InputError if it cannot.
    """
    images = sorted(path for path in folder.glob("img.*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if len(images) > 1:
        raise InputError(f"{folder}: needs one image, found {', '.join(path.name for path in images)}")
    image = decode(images[0]) if images else None
    settings = read_settings(folder / CONFIG) if (folder / CONFIG).is_file() else None
    objects: Objects = []
    if (folder / OBJECTS).is_file():
        objects = check_objects(read_json(folder / OBJECTS, list), str(folder / OBJECTS))
    elif (folder / BBOXES).is_file() and image is not None:
        settings = settings or Settings.of(CustomizeConfig())
        objects, frames = read_bboxes(folder / BBOXES, settings.num_frames, image.size)
        settings = replace(settings, num_frames=frames)
    if (folder / LOOKS).is_file():
        looks = read_json(folder / LOOKS).get("objects")
        if isinstance(looks, list) and len(looks) == len(objects):
            joined = [item | (own if isinstance(own, dict) else {}) for item, own in zip(objects, looks, strict=True)]
            objects = check_objects(joined, str(folder / LOOKS))
    return Contents(image, objects, settings)
