"""YouTube-VIS 2021: several tracked objects per video, every fifth frame."""

import hashlib
from collections import defaultdict
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

HELD_OUT = 180  # videos of train that are kept for evaluation
_PLACES = ("youvis/train", "ytvis_2021/train", "youtube_vis_2021/train", "youtube_vis/train", "ytvis/train", "train")


class YouTubeVIS(AnnotatedVideos):
    """The annotated videos of YouTube-VIS 2021 (those of train), a `VideoSource`.

    Boxes come from `bboxes`, or from `segmentations` where there are none; where both are null the object is absent.
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
        super().__init__("youvis/train", annotations.names, annotations.video, unused, min_frames, on_error)
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
        self._categories = {
            self._get(item, "id", f"category {n}", int): self._get(item, "name", f"category {n}", str)
            for n, item in enumerate(self._get(content, "categories", "the file", list))
        }
        self._videos: dict[str, dict] = {}
        for n, video in enumerate(self._get(content, "videos", "the file", list)):
            files = self._get(video, "file_names", f"video {n}", list)
            if not files or not all(isinstance(file, str) for file in files):
                raise InputError(f"{path}: video {n} has no file_names")
            self._videos[files[0].split("/")[0]] = video
        if not self._videos:
            raise InputError(f"{path}: holds no videos")
        self._tracks: dict[int, list[dict]] = defaultdict(list)
        for n, track in enumerate(self._get(content, "annotations", "the file (only train has them)", list)):
            self._tracks[self._get(track, "video_id", f"annotation {n}", int)].append(track)
        self.names = sorted(self._videos)
        self.captions = read_captions(self.captions_path, self.names)
        self.categories = sorted(set(self._categories.values()))

    def _get(self, item: Any, key: str, what: str, kind: Any) -> Any:
        if not isinstance(item, dict) or key not in item:
            raise InputError(f'{self._path}: {what} has no "{key}"')
        if not isinstance(item[key], kind) or isinstance(item[key], bool):
            raise InputError(f'{self._path}: {what}: "{key}" is {str(item[key])[:40]!r}, of the wrong kind')
        return item[key]

    def file_names(self, name: str) -> list[str]:
        """The frames of a video, relative to JPEGImages."""
        return self._videos[name]["file_names"]

    def tracks(self, name: str) -> list[dict]:
        """The annotations of a video as they stand in the file."""
        return self._tracks[self._get(self._videos[name], "id", f"video {name}", int)]

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
            raise InputError(f"{self._path}: {what}: category_id {number} is unknown, of {known}")
        return self._categories[number]

    def _boxes(self, track: dict, video: dict, name: str) -> np.ndarray:
        """Boxes of one object, F 4, xyxy in 0..1; NaN where absent."""
        what = f"annotation {track.get('id', '?')} (video {name})"
        width, height = (self._get(video, key, f"video {name}", (int, float)) for key in ("width", "height"))
        if min(width, height) <= 0:
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
    """The extent of a COCO mask (run lengths, as numbers or compressed), xywh in pixels; `size` is height and width.

    Raises an InputError if it is not a run-length code of a mask of this size.
    """
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


def caption_of(phrases: Sequence[str]) -> str:
    """A prompt where there is no caption: "A dog and a car."."""
    named = [f"{'an' if phrase[:1].lower() in 'aeiou' else 'a'} {phrase}" for phrase in dict.fromkeys(phrases)]
    text = " and ".join([", ".join(named[:-1]), named[-1]] if len(named) > 1 else named)
    return f"{text[0].upper()}{text[1:]}."
