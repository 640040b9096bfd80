"""YouTube-VIS 2021: several tracked objects per video, every fifth frame."""

import hashlib
import logging
import math
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from smcd.data.annotated import AnnotatedVideos
from smcd.data.clips import Video
from smcd.data.label_files import check_box, check_text, folder_of, read_captions, xyxy
from smcd.runtime.errors import InputError, first_line
from smcd.runtime.files import read_json
from smcd.runtime.media import read_frame
from smcd.runtime.names import check_inside

logger = logging.getLogger(__name__)

HELD_OUT = 180  # videos of train that are kept for evaluation
_PLACES = ("youvis/train", "ytvis_2021/train", "youtube_vis_2021/train", "youtube_vis/train", "ytvis/train", "train")


class YouTubeVIS(AnnotatedVideos):
    """The annotated videos of YouTube-VIS 2021 (those of train), a `VideoSource`.

    Boxes come from `bboxes`, or from `segmentations` (run lengths or polygons) where there are none; where both are
    null the object is absent. All frames must be there.
    The prompt of a video is its entry in `caption.json`, if there is one, otherwise it is made of its categories.

    Args:
        path: the folder that holds `youvis` (or `ytvis_2021`, `YouTube-VIS`, ...), or youvis itself.
        held_out: the videos of `held_out_names`: "exclude" (training), "only" (evaluation), "include" (both).
        min_frames, on_error: see `AnnotatedVideos`.

    Raises an InputError naming the file and the annotation where they are missing or broken.
    """

    def __init__(self, path: Path, held_out: str = "exclude", min_frames: int = 8, on_error: str = "error"):
        annotations = Annotations(Path(path))
        self.folder = folder_of(annotations.folder, "JPEGImages")
        unused, away = {}, set(held_out_names(annotations.names))
        if held_out == "exclude":
            unused = dict.fromkeys(sorted(away), "held out for evaluation")
        elif held_out == "only":
            unused = dict.fromkeys(sorted({*annotations.names} - away), "not held out")

        def read(name: str) -> Video:
            files = [self.folder / file for file in annotations.file_names(name)]
            if missing := next((file for file in files if not file.is_file()), None):
                raise InputError(f"{missing}: is missing, and the annotations list it")
            return annotations.video(name)

        super().__init__("youvis/train", annotations.names, read, unused, min_frames, on_error)
        self._files = {name: annotations.file_names(name) for name in self.names}

    def images(self, index: int, frames: Sequence[int], size: tuple[int, int] | None) -> list[PIL.Image.Image]:
        files = self._files[self.names[index]]
        return [read_frame(self.folder / files[frame], size) for frame in frames]


def held_out_names(names: Iterable[str]) -> list[str]:
    """The 180 names with the lowest SHA-1, sorted by it; of a small dataset a tenth."""
    ordered = sorted(names, key=lambda name: hashlib.sha1(name.encode()).hexdigest())
    return ordered[: min(HELD_OUT, len(ordered) // 10)]


class Annotations:
    """`instances.json` with `caption.json`: what is known of each video, by its name.

    `path` is that of `YouTubeVIS`. Outside of youvis/train, the file of annotations may be called `train.json`.
    """

    def __init__(self, path: Path):
        self.folder = folder_of(path, *_PLACES)
        self.root = self.folder.parent
        files = [self.folder / "instances.json", self.root / "train.json"]
        self._path = path = next((file for file in files if file.is_file()), files[0])
        self.captions_path = self.root / "caption.json"
        content = read_json(path)
        categories = self._by_id(self._get(content, "categories", "the file", list), "category")
        videos = self._by_id(self._get(content, "videos", "the file", list), "video")
        self._categories = {n: self._get(item, "name", f"category {n}", str) for n, item in categories.items()}
        self._videos: dict[str, dict] = {}
        for n, video in enumerate(videos.values()):
            name = self._name(video, f"video {n}")
            if name in self._videos:
                raise InputError(f"{path}: video {n} has the folder of another one, {name}")
            self._videos[name] = video
        if not self._videos:
            raise InputError(f"{path}: holds no videos")
        self._tracks: dict[int, list[dict]] = {number: [] for number in videos}
        strays: list[dict] = []
        for n, track in enumerate(self._get(content, "annotations", "the file (only train has them)", list)):
            self._tracks.get(self._get(track, "video_id", f"annotation {n}", int), strays).append(track)
        if strays:
            example = f"such as {strays[0]['video_id']}"
            logger.warning(f"{path}: {len(strays)} annotations are left out: no video has their video_id ({example})")
        self.names = sorted(self._videos)
        self.captions = read_captions(self.captions_path, self.names)
        self.categories = sorted(set(self._categories.values()))

    def _get(self, item: Any, key: str, what: str, kind: Any) -> Any:
        if not isinstance(item, dict) or key not in item:
            raise InputError(f'{self._path}: {what} has no "{key}"')
        if not isinstance(item[key], kind) or isinstance(item[key], bool):
            raise InputError(f'{self._path}: {what}: "{key}" is {str(item[key])[:40]!r}, of the wrong kind')
        return item[key]

    def _by_id(self, items: list, kind: str) -> dict[int, dict]:
        """Entries by their ids. Raises an InputError where two have the same."""
        found: dict[int, dict] = {}
        for n, item in enumerate(items):
            number = self._get(item, "id", f"{kind} {n}", int)
            if number in found:
                raise InputError(f"{self._path}: {kind} {n}: the id {number} was given before")
            found[number] = item
        return found

    def _name(self, video: Any, what: str) -> str:
        """The folder of a video's frames, by which it is called."""
        files = self._get(video, "file_names", what, list)
        if not files or not all(isinstance(file, str) for file in files):
            raise InputError(f"{self._path}: {what} has no file_names")
        for file in files:
            check_inside(file, f"{self._path}: {what}")
        folders = sorted({file.partition("/")[0] for file in files})
        if len(folders) > 1:
            raise InputError(f"{self._path}: {what}: its file_names are in several folders ({', '.join(folders[:2])})")
        return folders[0]

    def file_names(self, name: str) -> list[str]:
        """The frames of a video, relative to JPEGImages."""
        return self._videos[name]["file_names"]

    def tracks(self, name: str) -> list[dict]:
        """The annotations of a video as they stand in the file."""
        return self._tracks[self._videos[name]["id"]]

    def video(self, name: str) -> Video:
        """Raises an InputError that names the annotation that is broken."""
        where, tracks = f"{self._path}: video {name}", self.tracks(name)
        if not tracks:
            raise InputError(f"{where} has no annotations")
        boxes = np.stack([self._boxes(track, self._videos[name], name) for track in tracks], axis=1)
        phrases = [self.category(track) for track in tracks]
        present = np.isfinite(boxes).all(-1)
        if not present.any():
            raise InputError(f"{where}: its objects are absent in all frames")
        boxes = np.where(present[..., None], boxes, 0).astype(np.float32)
        prompt = check_text(self.captions.get(name), f"{self.captions_path}: the caption of {name}")
        prompt = prompt or caption_of(phrases)
        return Video(name, prompt, phrases, boxes, present.astype(np.float32), where)

    def category(self, track: dict) -> str:
        """The name of an annotation's category. Raises an InputError for an id that the file does not define."""
        what = f"annotation {track.get('id', '?')}"
        number = self._get(track, "category_id", what, int)
        if number not in self._categories:
            known = ", ".join(map(str, self._categories))
            raise InputError(f"{self._path}: {what}: category_id {str(number)[:20]} is unknown, of {known}")
        return self._categories[number]

    def _boxes(self, track: dict, video: dict, name: str) -> np.ndarray:
        """Boxes of one object, F 4, xyxy in 0..1; NaN where absent."""
        what = f"annotation {track.get('id', '?')} (video {name})"
        width, height = (self._get(video, key, f"video {name}", (int, float)) for key in ("width", "height"))
        if not all(0 < side < math.inf for side in (width, height)):
            raise InputError(f"{self._path}: video {name}: its size is {width} x {height}")
        frames = len(self.file_names(name))
        given, masks = (
            None if track.get(key) is None else self._get(track, key, what, list) for key in ("bboxes", "segmentations")
        )
        found = masks if given is None else given
        if found is None:
            raise InputError(f'{self._path}: {what} has neither "bboxes" nor "segmentations"')
        if len(found) != frames:
            raise InputError(f"{self._path}: {what} has boxes for {len(found)} frames, the video has {frames}")
        boxes = np.full((frames, 4), np.nan)
        for frame, (box, mask) in enumerate(zip_longest(given or [], (masks or [])[:frames])):
            where = f"{self._path}: {what}, frame {frame}"
            if box is None and mask is not None:
                box = box_of_mask(mask, (height, width), where)
            if box is not None:
                boxes[frame] = check_box(box, where)
        corners = xyxy(boxes, width, height)
        corners[(corners[:, 2:] <= corners[:, :2]).any(-1)] = np.nan  # empty, or outside the image
        return corners


def box_of_mask(mask: Any, size: tuple[float, float], where: str) -> list[float]:
    """The extent of a COCO mask, xywh in pixels: polygons, or run lengths, as numbers or compressed.

    `size` is height and width. Raises an InputError if it is no mask of this size.
    """
    if isinstance(mask, list):
        return _box_of_polygons(mask, where)
    from pycocotools import mask as coco

    try:
        if tuple(mask["size"]) != size:
            raise ValueError(f"its size is {mask['size']}, the video's {list(size)}")
        if isinstance(mask["counts"], list):
            if sum(mask["counts"]) != size[0] * size[1] or min(mask["counts"]) < 0:
                raise ValueError("the lengths do not add up to its size")
            mask = coco.frPyObjects(mask, *mask["size"])
        return [float(value) for value in coco.toBbox(mask)]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{where}: the segmentation is not a run-length code ({first_line(error)})") from None


def _box_of_polygons(polygons: list, where: str) -> list[float]:
    """The extent of polygons, each [x1, y1, x2, y2, ...], as xywh; of none, a box without extent."""
    try:
        corners = [np.array(polygon, dtype=np.float64).reshape(-1, 2) for polygon in polygons]
        if any(len(points) < 3 or not np.isfinite(points).all() for points in corners):
            raise ValueError("a polygon has at least three points")
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{where}: the segmentation is not a list of polygons ({first_line(error)})") from None
    points = np.concatenate(corners) if corners else np.zeros((1, 2))
    return [*points.min(0).tolist(), *np.ptp(points, axis=0).tolist()]


def caption_of(phrases: Sequence[str]) -> str:
    """A prompt where there is no caption: "A dog and a car."."""
    named = [f"{'an' if phrase[:1].lower() in 'aeiou' else 'a'} {phrase}" for phrase in dict.fromkeys(phrases)]
    text = " and ".join([", ".join(named[:-1]), named[-1]] if len(named) > 1 else named)
    return f"{text[0].upper()}{text[1:]}."
