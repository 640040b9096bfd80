"""Boxes from a video: `smcd track`, and what it shares with the editor."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from smcd.config import TrackConfig
from smcd.data.video_folder import ANNOTATIONS, open_video, read_images
from smcd.editor.boxes import Objects, animated, merged, scaled
from smcd.editor.other_tools import objects_of_paths
from smcd.editor.project import read_contents, write_objects
from smcd.editor.uploads import own_image
from smcd.runtime.errors import InputError
from smcd.runtime.files import check_writable, new_file, read_json, write_json
from smcd.runtime.media import images_in
from smcd.runtime.pretrained import MissingModel
from smcd.runtime.video_file import VIDEO_SUFFIXES, VideoFile

logger = logging.getLogger(__name__)
_AT_ONCE = 32  # frames that are held in full size


def track(config: TrackConfig) -> None:
    """Follow objects through a video, or all videos of a folder, and write their key frames.

    Raises an InputError for a video that cannot be read, a model that cannot be loaded, or an object that is not found.
    """
    tracker, detector = load_models(config.sam2, config.detector if config.find else None)
    if config.annotate:
        annotate(Path(config.video), config.find, tracker, detector, config.tolerance)
        return
    out, video = Path(str(config.out)), Path(config.video)
    check_writable(out, "--out")
    files, length, _ = open_video(video)
    first, last = config.first, length - 1 if config.last is None else min(config.last, length - 1)
    if first > last:
        raise InputError(f"{video}: has {length} frames: --first {first} lies after the last one to use, {last}")
    frame = read_images(files, [first])[0]
    boxes: Mapping[str, Any]
    boxes = {config.object: config.box} if config.object else find_all(detector, frame, config.find)
    if lacking := [words for words in config.find if words not in boxes]:
        raise InputError(f"{video}: no {lacking[0]} is found in frame {first}: use other words, or --box and --object")
    paths = follow(files, (first, last), boxes, tracker)
    objects = objects_of_paths(paths, config.video_length, config.tolerance)
    if not objects:
        raise InputError(f"{video}: nothing can be followed: is the box large enough, and inside the frame?")
    add_to_project(out, objects, frame)
    print(f"wrote {out}: smcd edit {out} shows it, smcd animate --input_data_path {out} --prompt ... animates it")


def load_models(sam2: str | None, detector: str | None) -> tuple[Any, Any]:
    """The tracker, and the detector if one is named. Raises an InputError if one cannot be loaded."""
    import torch

    from smcd.tracking.box_trackers import CSRT, SAM2

    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        tracker = SAM2(sam2, device) if sam2 else CSRT()
        if detector is None:
            return tracker, None
        from smcd.tracking.detectors import Detector

        return tracker, Detector(detector, device)
    except MissingModel as error:
        raise InputError(str(error)) from None


def find_all(detector: Any, frame: PIL.Image.Image, words: Sequence[str]) -> dict[str, np.ndarray]:
    """The boxes (4,), in pixels, of the objects in a frame that words name; without those that are not there."""
    found = {each: detector(np.asarray(frame), each) for each in words}
    return {each: box for each, box in found.items() if box is not None}


def follow(
    files: VideoFile | list[Path],
    span: tuple[int, int],
    boxes: Mapping[str, Sequence[float] | np.ndarray],
    tracker: Any,
    on_frame: Any = None,
) -> dict[str, np.ndarray]:
    """Boxes F 4 (pixels, NaN where lost) of the objects whose boxes in the first frame are given, by name.

    Args:
        files: what `open_video` gives.
        span: first and last frame, both included.
        on_frame: called with the number of each frame that is done.
    """
    numbers, frames, scale = range(span[0], span[1] + 1), [], 1.0
    for start in range(0, len(numbers), _AT_ONCE):
        for image in read_images(files, numbers[start : start + _AT_ONCE]):
            scale = min(1.0, tracker.side / max(image.size))
            size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
            frames.append(np.asarray(image if scale == 1 else image.resize(size, PIL.Image.Resampling.BILINEAR)))
    first = np.array([[*box] for box in boxes.values()], dtype=np.float64)  # N 4
    found = tracker(np.stack(frames), first * scale, on_frame) / scale  # F N 4
    return dict(zip(boxes, found.swapaxes(0, 1), strict=True))


def add_to_project(out: Path, objects: Objects, frame: PIL.Image.Image) -> None:
    """Add objects of a frame to a project, which is made if it is not there; those of the same names are replaced.

    A project without an image gets the frame; over another image, the boxes are scaled to it.
    """
    contents = read_contents(out, own_image)
    if contents.image is None:
        with new_file(out / "img.png") as temporary:
            frame.save(temporary)
    else:
        objects = scaled(objects, frame.size, contents.image.size)
    write_objects(out, merged(contents.objects, objects))


def annotate(folder: Path, words: Sequence[str], tracker: Any, detector: Any, tolerance: float) -> None:
    """Fill `annotations.json` of a folder of videos; what it says of a video already stays, so it can go on later.

    Raises an InputError if there are no videos, or one cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; --annotate needs one that holds videos")
    names = sorted(path.name for path in folder.iterdir() if _is_video(path))
    if not names:
        raise InputError(f"{folder}: holds no videos ({', '.join(VIDEO_SUFFIXES)}, or folders of frames)")
    path = folder / ANNOTATIONS
    annotations: dict[str, Any] = read_json(path) if path.is_file() else {}
    for name in (name for name in names if name not in annotations):
        files, length, _ = open_video(folder / name)
        boxes = find_all(detector, read_images(files, [0])[0], words)
        objects = objects_of_paths(follow(files, (0, length - 1), boxes, tracker), length, tolerance) if boxes else []
        if not objects:
            logger.warning(f"{folder / name}: holds none of {', '.join(words)} in its first frame; it is left out")
            continue
        annotations[name] = {"objects": animated(objects)}
        write_json(path, annotations, indent=1)
        logger.info(f"{name}: {', '.join(each['phrase'] for each in objects)}")
    print(
        f"wrote {path}: {len(annotations)} of {len(names)} videos; smcd show --name videos --path {folder} draws them"
    )


def _is_video(path: Path) -> bool:
    if path.is_dir():
        return bool(images_in(path))
    return path.suffix.lower() in VIDEO_SUFFIXES
