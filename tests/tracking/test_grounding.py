"""AO, SR and track IoU: EVALUATION's vectors, the toolkit's definition, and what is left out."""

import numpy as np
import pytest

from smcd.tracking import grounding


def xyxy(rows) -> np.ndarray:
    """xywh rows as boxes F 1 4."""
    boxes = np.array(rows, dtype=float)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)[:, None]


VECTORS = [
    (
        [[10, 10, 20, 20]] * 4,
        [[10, 10, 20, 20], [10, 10, 20, 20], [15, 10, 20, 20], [20, 20, 20, 20]],
        {"ao": 0.580952380952, "sr50": 2 / 3, "sr75": 1 / 3},
    ),
    (
        [[0, 0, 10, 10]] * 4,
        [[0, 0, 10, 10], [0, 0, 10, 20], [0, 0, 10, 7.5], [0, 0, 10, 7.6]],
        {"ao": 0.67, "sr50": 2 / 3, "sr75": 1 / 3},
    ),
]


@pytest.mark.parametrize(("prediction", "truth", "expected"), VECTORS)
def test_vectors(prediction, truth, expected):
    scored = grounding.ground(xyxy(prediction), xyxy(truth), 256, 256)
    assert grounding.success(scored.overlap) == pytest.approx(expected, abs=1e-9)


def toolkit(prediction: np.ndarray, truth: np.ndarray, width: int, height: int, cover: np.ndarray) -> list[float]:
    """IoUs as the GOT-10k toolkit documents them, one box (xywh) at a time."""
    values = []
    for a, b, visible in zip(prediction[1:], truth[1:], cover[1:], strict=True):
        if visible > 0:
            clipped = []
            for x, y, w, h in (a, b):
                x, y = min(max(x, 0), width), min(max(y, 0), height)
                clipped.append((x, y, min(max(w, 0), width - x), min(max(h, 0), height - y)))
            (x1, y1, w1, h1), (x2, y2, w2, h2) = clipped
            shared = max(min(x1 + w1, x2 + w2) - max(x1, x2), 0) * max(min(y1 + h1, y2 + h2) - max(y1, y2), 0)
            values.append(min(max(shared / (w1 * h1 + w2 * h2 - shared + np.finfo(float).eps), 0), 1))
    return values


def test_equal_to_the_toolkit_on_random_sequences():
    rng = np.random.default_rng(0)
    pooled, expected_pooled = [], []
    for _ in range(1000):
        count, width, height = rng.integers(2, 12), *rng.integers(40, 400, 2)
        size = np.array([width, height] * 2)
        truth = np.concatenate([rng.uniform(-0.1, 0.9, (count, 2)), rng.uniform(0.02, 0.6, (count, 2))], 1) * size
        prediction = truth + rng.normal(0, rng.choice([0.01, 0.1, 0.4]), (count, 4)) * size  # sizes below 0 too
        cover = rng.integers(0, 9, count)
        scored = grounding.ground(xyxy(prediction), xyxy(truth), height, width, cover[:, None])
        expected = np.array(toolkit(prediction, truth, width, height, cover))
        values = scored.overlap[~np.isnan(scored.overlap)]
        np.testing.assert_allclose(values, expected, atol=1e-12)
        if len(expected):
            assert grounding.success(scored.overlap) == pytest.approx(
                {"ao": expected.mean(), "sr50": (expected > 0.5).mean(), "sr75": (expected > 0.75).mean()}
            )
        pooled.append(values)
        expected_pooled.append(expected)
    together, expected = np.concatenate(pooled), np.concatenate(expected_pooled)
    assert grounding.success(together)["sr50"] == (expected > 0.5).mean()
    assert 0.1 < together.mean() < 0.9  # neither all apart nor all equal


def test_what_is_not_scored():
    truth = np.tile(np.array([10.0, 10, 30, 30]), (4, 3, 1))
    truth[2, 0] = np.nan  # absent later
    truth[0, 1] = np.nan  # absent in frame 0: nothing to start from
    prediction = truth.copy()
    prediction[1, 0] = np.nan  # lost
    cover = np.full((4, 3), 8)
    cover[1, 2] = 0
    scored = grounding.ground(prediction, truth, 64, 64, cover)
    nan = np.nan
    expected = np.array([[nan, nan, nan], [0, nan, nan], [nan, nan, 1], [1, nan, 1]])
    np.testing.assert_allclose(scored.overlap, expected)
    assert grounding.success(np.array([nan, nan])) == {}
    assert np.isnan(scored.track_iou).tolist() == [False, True, False]
    assert scored.track_iou[[0, 2]] == pytest.approx([0.5, 1])


def test_track_iou_sums_areas_and_pays_for_boxes_without_truth():
    truth = xyxy([[0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 20, 20], [0, 0, 1, 1]])
    truth[3] = np.nan
    prediction = xyxy([[0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 20, 20], [5, 5, 10, 10]])
    scored = grounding.ground(prediction, truth, 64, 64)
    assert scored.track_iou == pytest.approx([(50 + 400) / (100 + 400 + 100)])
    assert grounding.track_success(np.array([0.4, 0.5, 0.7, 0.8, np.nan])) == pytest.approx(
        {"track_iou": 0.6, "track_sr50": 0.5, "track_sr75": 0.25}
    )


def test_classes_weigh_the_same():
    overlaps = {"dog": np.array([1.0] * 9), "cat": np.array([0.0, 0.6]), "fish": np.array([np.nan])}
    assert grounding.class_means(overlaps) == pytest.approx({"mao": 0.65, "msr50": 0.75, "msr75": 0.5})
    assert grounding.class_means({}) == {}


def test_random_boxes_against_random_boxes():
    rng = np.random.default_rng(0)
    sides = rng.uniform(0.1, 0.6, (2, 20000, 1, 2))
    corners = rng.uniform(0, 1, sides.shape) * (1 - sides)
    boxes = np.concatenate([corners, corners + sides], -1)
    values = grounding.success(grounding.iou(boxes[0], boxes[1], 1, 1))
    assert values["ao"] == pytest.approx(0.10, abs=0.02)
    assert values["sr50"] == pytest.approx(0.02, abs=0.01)


def test_static_boxes():
    boxes = np.arange(24.0).reshape(3, 2, 4)
    assert (grounding.static(boxes) == boxes[:1]).all()
    assert grounding.static(boxes).shape == boxes.shape
