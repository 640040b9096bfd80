"""Trackers: CSRT on sprites, SAM 2 with a small random model."""

import sys

import numpy as np
import pytest
import torch

from smcd.runtime.pretrained import MissingModel
from smcd.sprites.world import World, make_clip
from smcd.tracking import grounding
from smcd.tracking.box_trackers import CSRT, SAM2, mask_extent, sam2_input
from tests.evaluation.metrics.tiny import object_score, sam2_model

GENTLE = World(objects=(1, 2), motions=("line",), speed=0.4, turning=0.05, growing=1.1)
NONE = np.full(4, np.nan)


def truth_boxes(clip) -> np.ndarray:
    return np.where(clip.box_mask[..., None] > 0, clip.boxes.astype(float) * clip.frames.shape[1], np.nan)


def test_csrt_on_sprites_is_near_its_ceiling():
    overlaps, still = [], []
    for index in range(5):
        clip = make_clip(1, index, size=128, world=GENTLE)
        truth = truth_boxes(clip)
        boxes = CSRT()(clip.frames, truth[0])
        overlaps.append(grounding.ground(boxes, truth, 128, 128).overlap.ravel())
        still.append(grounding.ground(grounding.static(truth), truth, 128, 128).overlap.ravel())
    values = grounding.success(np.concatenate(overlaps))
    assert values["ao"] > 0.8
    assert values["sr50"] > 0.95
    assert values["ao"] > grounding.success(np.concatenate(still))["ao"] + 0.1


def test_csrt_is_deterministic_and_does_not_mix_objects():
    clip = make_clip(1, 1, size=96, world=World(objects=(2, 2)))
    first = truth_boxes(clip)[0]
    boxes = CSRT()(clip.frames, first)
    np.testing.assert_array_equal(boxes, CSRT()(clip.frames, first))
    np.testing.assert_array_equal(boxes[:, ::-1], CSRT()(clip.frames, first[::-1]))
    np.testing.assert_array_equal(boxes[0], first)


def test_csrt_without_a_box_or_with_next_to_none():
    frames = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), dtype=np.uint8)
    first = np.array([NONE, [5, 5, 5.5, 5.5], [40, 40, 50, 50], [-10, -10, 20, 20]])
    boxes = CSRT()(frames, first)
    assert np.isnan(boxes[:, :3]).all()
    np.testing.assert_array_equal(boxes[0, 3], [0, 0, 20, 20])  # cut at the edges


def test_csrt_without_opencv(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingModel, match="opencv-contrib-python-headless"):
        CSRT()


@pytest.fixture(scope="module")
def sam2(tmp_path_factory) -> SAM2:
    folder = tmp_path_factory.mktemp("sam2")
    sam2_model().save_pretrained(folder)
    return SAM2(str(folder))


@pytest.fixture
def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 48, 64, 3), dtype=np.uint8)


def test_sam2_follows_several_objects_at_once(sam2, frames, monkeypatch):
    logits = []
    original = SAM2._masks
    monkeypatch.setattr(SAM2, "_masks", lambda self, masks, *size: logits.append(masks) or original(self, masks, *size))
    first = np.array([[5, 5, 20, 30], NONE, [40, 10, 60, 40]])
    boxes = sam2(frames, first)
    assert boxes.shape == (3, 3, 4)
    assert np.isnan(boxes[:, 1]).all()
    assert [len(masks) for masks in logits] == [2, 2, 2]
    together = logits.copy()
    logits.clear()
    sam2(frames, first[2:])
    for both, alone in zip(together, logits, strict=True):  # an object's masks do not depend on the others
        torch.testing.assert_close(both[1:], alone, atol=1e-3, rtol=1e-3)
    assert (together[0][0] - together[0][1]).abs().max() > 1e-4  # the box has a say
    expected = [mask_extent(mask) for mask in original(sam2, together[2], 48, 64)]
    np.testing.assert_array_equal(boxes[2, [0, 2]], expected)


def test_sam2_prompts_are_the_boxes_corners_at_its_own_size(sam2, frames):
    session = sam2._session(frames, np.array([[16.0, 12, 32, 24]]))
    inputs = session.point_inputs_per_obj[0][0]
    assert inputs["point_coords"].tolist() == [[[[32, 32], [64, 64]]]]  # 64 x 48 pixels -> 128 x 128
    assert inputs["point_labels"].tolist() == [[[2, 3]]]


def test_sam2_with_empty_masks_has_no_boxes(frames):
    tracker = SAM2.__new__(SAM2)
    tracker.model, tracker.device = sam2_model().eval(), "cpu"
    object_score(tracker.model)[-1].data.fill_(-1000.0)  # "the object is not there"
    boxes = tracker(frames, np.array([[5.0, 5, 20, 30]]))
    assert np.isnan(boxes).all()
    truth = np.tile(np.array([5.0, 5, 20, 30]), (3, 1, 1))
    assert grounding.success(grounding.ground(boxes, truth, 48, 64).overlap)["ao"] == 0


def test_sam2_without_any_object(sam2, frames):
    assert np.isnan(sam2(frames, np.array([NONE]))).all()


def test_sam2_input_is_squashed_and_normalized():
    white = sam2_input(np.full((2, 30, 50, 3), 255, np.uint8), 64)
    assert white.shape == (2, 3, 64, 64)
    expected = (1 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(white[0, :, 10, 10], expected, rtol=1e-5)


def test_mask_extent():
    mask = np.zeros((8, 10), bool)
    assert np.isnan(mask_extent(mask)).all()
    mask[2:5, 3:9] = True
    assert mask_extent(mask).tolist() == [3, 2, 9, 5]


def test_sam2_that_is_not_there(tmp_path):
    with pytest.raises(MissingModel, match="cannot be loaded"):
        SAM2(str(tmp_path))


@pytest.mark.parametrize("name", ["csrt", "sam2"])
def test_each_frame_that_is_done_is_told(name, sam2, frames):
    done: list[int] = []
    (CSRT() if name == "csrt" else sam2)(frames, np.array([[5.0, 5, 20, 30]]), done.append)
    assert done == [0, 1, 2]
