"""Trackers: where the objects of a video are, given their boxes in frame 0.

A tracker is called with frames F H W 3 (uint8) and first boxes N 4 (xyxy in pixels, NaN where the object is absent). It
returns boxes F N 4, cut at the frame's edges, NaN where it has lost the object or was given none. `on_frame` is called
with the number of each frame that is done.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn.functional import interpolate

from smcd.runtime.pretrained import IMAGENET_MEAN, IMAGENET_STD, MissingModel, Pretrained

OnFrame = Callable[[int], None]


class CSRT:
    """OpenCV's discriminative correlation filter: no weights, deterministic, weak on fast and turning objects.

    OpenCV's tracker works with integer boxes, so frames are enlarged four times first. Raises MissingModel if OpenCV is
    not installed, or is a build without its contributed modules.
    """

    side = 480  # pixels of the longer side at which larger frames are best given to it: enlarged, they are 1920
    _scale = 4
    _least = 4  # pixels of a side, enlarged: smaller boxes make OpenCV fail

    def __init__(self) -> None:
        try:
            import cv2

            self._cv2, self._make = cv2, cv2.TrackerCSRT_create  # type: ignore[attr-defined]  # not in its stubs
        except (ImportError, AttributeError):
            fix = "install opencv-contrib-python-headless and no other build of OpenCV"
            raise MissingModel(f"the csrt tracker is missing: {fix}") from None

    def __call__(self, frames: np.ndarray, first: np.ndarray, on_frame: OnFrame | None = None) -> np.ndarray:
        height, width = frames.shape[1:3]
        size = (width * self._scale, height * self._scale)
        boxes = np.full((len(frames), *first.shape), np.nan)
        trackers: dict[int, Any] = {}
        for f, frame in enumerate(frames):
            large = self._cv2.resize(frame[..., ::-1], size)  # OpenCV's colors are BGR
            for n, start in enumerate(_cut(first, height, width)) if f == 0 else ():
                x1, y1, x2, y2 = np.rint(start * self._scale)
                if min(x2 - x1, y2 - y1) >= self._least:  # not NaN
                    boxes[0, n], trackers[n] = start, self._make()
                    trackers[n].init(large, (int(x1), int(y1), int(x2 - x1), int(y2 - y1)))
            for n, tracker in trackers.items() if f > 0 else ():
                found, (x, y, w, h) = tracker.update(large)
                if found:
                    boxes[f, n] = np.array([x, y, x + w, y + h]) / self._scale
            if on_frame is not None:
                on_frame(f)
        return _cut(boxes, height, width)

    def describe(self) -> dict[str, str]:
        return {"name": "csrt", "source": f"OpenCV {self._cv2.__version__}, frames enlarged {self._scale}x"}


class SAM2(Pretrained):
    """SAM 2, prompted with the boxes; all objects at once. A box is the extent of a mask; an empty mask has none.

    Frames are preprocessed by hand, as the model's processor would (it needs torchvision): they are squashed to the
    model's square (1024 x 1024), antialiased bilinear, and normalized with ImageNet's mean and deviation.
    `source` is a folder or hub id of a `Sam2VideoModel`. Raises MissingModel if it cannot be loaded.
    """

    side = 1024  # pixels of the longer side at which larger frames are best given to it: it sees no more

    def __init__(self, source: str, device: str = "cpu"):
        from transformers import Sam2VideoModel

        super().__init__(Sam2VideoModel, source, device)

    @torch.inference_mode()
    def __call__(self, frames: np.ndarray, first: np.ndarray, on_frame: OnFrame | None = None) -> np.ndarray:
        height, width = frames.shape[1:3]
        first = _cut(first, height, width)
        objects = np.flatnonzero(~np.isnan(first).any(-1))
        boxes = np.full((len(frames), *first.shape), np.nan)
        if not len(objects):
            return boxes
        session = self._session(frames, first[objects])
        for output in self.model.propagate_in_video_iterator(session, start_frame_idx=0):
            masks = self._masks(output.pred_masks, height, width)
            boxes[output.frame_idx, objects] = [mask_extent(mask) for mask in masks]
            if on_frame is not None:
                on_frame(output.frame_idx)
        return boxes

    def _session(self, frames: np.ndarray, first: np.ndarray) -> Any:
        """SAM 2's state for one video with all boxes N 4 entered in frame 0."""
        from transformers import Sam2VideoInferenceSession

        height, width = frames.shape[1:3]
        side = int(self.model.image_size)
        session = Sam2VideoInferenceSession(
            video=sam2_input(frames, side),
            video_height=height,
            video_width=width,
            inference_device=self.device,
            inference_state_device=self.device,
            dtype=torch.float32,
        )
        corners = torch.from_numpy(first * side / np.array([width, height] * 2)).float().reshape(-1, 1, 1, 2, 2)
        labels = torch.tensor([[[2, 3]]], dtype=torch.int32)  # what SAM calls upper left and lower right
        for n, points in enumerate(corners):
            index = session.obj_id_to_idx(n)
            session.add_point_inputs(index, 0, {"point_coords": points, "point_labels": labels})
        session.obj_with_new_inputs = list(range(len(corners)))
        return session

    def _masks(self, logits: torch.Tensor, height: int, width: int) -> np.ndarray:
        """Masks N H W of low-resolution logits N 1 h w, enlarged in two steps as the processor does."""
        side = int(self.model.image_size)
        large = interpolate(logits.float(), (side, side), mode="bilinear", align_corners=False)
        return (interpolate(large, (height, width), mode="bilinear", align_corners=False) > 0)[:, 0].cpu().numpy()

    def describe(self) -> dict[str, str]:
        return {"name": "sam2", **super().describe()}


Tracker = CSRT | SAM2


def sam2_input(frames: np.ndarray, side: int) -> torch.Tensor:
    """Frames F H W 3 (uint8) -> F 3 side side, normalized."""
    video = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 255
    video = interpolate(video, (side, side), mode="bilinear", align_corners=False, antialias=True)
    return (video - torch.tensor(IMAGENET_MEAN).view(3, 1, 1)) / torch.tensor(IMAGENET_STD).view(3, 1, 1)


def mask_extent(mask: np.ndarray) -> np.ndarray:
    """The box (4,) around a mask H W, outer edges of its pixels; NaN for an empty one."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return np.full(4, np.nan)
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=np.float64)


def _cut(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Boxes ... 4 cut at the frame's edges; NaN where nothing of them lies inside."""
    cut = np.clip(np.asarray(boxes, dtype=np.float64), 0, [width, height, width, height])
    inside = (cut[..., 2:] > cut[..., :2]).all(-1, keepdims=True)
    return np.where(inside, cut, np.nan)
