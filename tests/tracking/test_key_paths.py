"""Tracked paths as key frames."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from smcd.data.key_frames import interpolate
from smcd.tracking.key_paths import key_frames

paths = arrays.arrays(np.float64, st.tuples(st.integers(1, 30), st.just(4)), elements=st.floats(-1000, 1000, width=32))
tolerances = st.floats(0, 50)


@given(paths, st.lists(st.integers(0, 29)), tolerances)
def test_key_frames_stay_within_the_tolerance_and_say_where_the_object_is(boxes, absent, tolerance):
    boxes[[frame for frame in absent if frame < len(boxes)]] = np.nan
    track = interpolate(key_frames(boxes, tolerance), len(boxes))
    assert [box is None for box in track] == np.isnan(boxes).any(-1).tolist()
    for box, expected in zip(track, boxes, strict=True):
        assert box is None or np.abs(np.array(box) - expected).max() <= tolerance + 0.01


@given(paths, tolerances, tolerances)
def test_a_larger_tolerance_needs_no_more_key_frames(boxes, one, other):
    few, many = (len(key_frames(boxes, tolerance)) for tolerance in (max(one, other), min(one, other)))
    assert few <= many


def test_linear_motion_has_two_key_frames_and_a_turn_a_third():
    x = np.array([0, 10, 20, 30, 20, 10, 0.0])
    boxes = np.stack([x, 0 * x, x + 5, 0 * x + 5], axis=-1)
    assert key_frames(boxes, 0.5) == {0: [0, 0, 5, 5], 3: [30, 0, 35, 5], 6: [0, 0, 5, 5]}
    assert key_frames(boxes[:4], 0.5).keys() == {0, 3}


@pytest.mark.parametrize(
    ("there", "keys"),
    [
        ([1, 1, 1, 1], {0: True, 3: True}),
        ([0, 1, 1, 0], {1: True, 2: True, 3: False}),
        ([1, 0, 0, 1], {0: True, 1: False, 3: True}),
        ([0, 0, 0, 0], {}),
    ],
    ids=str,
)
def test_absence_is_a_key_frame_too(there, keys):
    boxes = np.where(np.array(there)[:, None], [0.0, 0, 1, 1], np.nan)
    assert {frame: box is not None for frame, box in key_frames(boxes, 1).items()} == keys
