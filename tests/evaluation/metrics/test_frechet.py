"""FVD: the distance against closed forms, and what I3D is shown."""

import numpy as np
import pytest
import torch

from smcd.evaluation.metrics.frechet import I3D, frame_repeats, frechet_distance, fvd_name, i3d_input
from smcd.runtime.errors import InputError
from tests.evaluation.metrics.tiny import write_i3d

VECTORS = [
    (([0, 0], [[1, 0], [0, 4]]), ([3, 4], [[9, 0], [0, 16]]), 33.0),
    (([0, 0], [[2, 1], [1, 2]]), ([1, -1], [[1, 0], [0, 3]]), 2.5166852265),
    (
        ([1, 0, -1], [[1, 0.5, 0], [0.5, 1, 0.25], [0, 0.25, 2]]),
        ([0, 0, 0], [[1, 1, 0], [1, 1, 0], [0, 0, 0]]),
        4.5358983849,
    ),
]


def with_statistics(mean: list, covariance: list) -> np.ndarray:
    """Points with exactly this mean and this covariance (divisor n - 1)."""
    values, vectors = np.linalg.eigh(np.array(covariance, dtype=float))
    arms = (vectors * np.sqrt(np.maximum(values, 0))).T  # arms^T arms = covariance
    reach = np.sqrt((2 * len(arms) - 1) / 2)
    points = np.concatenate([arms, -arms]) * reach + np.array(mean)
    np.testing.assert_allclose(np.cov(points.T), covariance, atol=1e-12)
    return points


@pytest.mark.parametrize(("a", "b", "expected"), VECTORS)
def test_vectors(a, b, expected):
    first, second = with_statistics(*a), with_statistics(*b)
    assert frechet_distance(first, second) == pytest.approx(expected, abs=1e-9)
    assert frechet_distance(second, first) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("count", [3, 50, 1000])
def test_no_distance_to_itself(count):
    features = np.random.default_rng(0).normal(3, 2, (count, 400))
    assert abs(frechet_distance(features, features)) < 1e-9
    assert abs(frechet_distance(features, features[::-1])) < 1e-9


def test_against_the_textbook_formula():
    rng = np.random.default_rng(1)
    a, b = rng.normal(0, 1, (60, 7)), rng.normal(0.5, 2, (40, 7))
    eigenvalues = np.linalg.eigvals(np.cov(a.T) @ np.cov(b.T)).real
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(np.cov(a.T)) + np.trace(np.cov(b.T))
    assert frechet_distance(a, b) == pytest.approx(expected - 2 * np.sqrt(eigenvalues).sum(), rel=1e-9)


def test_float16_features_are_summed_in_float64():
    features = np.random.default_rng(0).normal(100, 1, (64, 8)).astype(np.float16)
    assert frechet_distance(features, features + np.float16(1)) == pytest.approx(8, abs=1e-6)


def test_one_clip_is_too_few():
    with pytest.raises(InputError, match="at least 2 clips"):
        frechet_distance(np.zeros((1, 4)), np.zeros((5, 4)))


def test_frames_are_repeated_where_i3d_needs_more():
    assert [frame_repeats(count) for count in (5, 8, 9, 16)] == [2, 2, 1, 1]
    assert (fvd_name(8), fvd_name(16)) == ("fvd_8x2", "fvd_16")
    with pytest.raises(InputError, match="at least 5 frames"):
        frame_repeats(4)


def test_what_i3d_sees():
    frames = np.zeros((8, 128, 256, 3), np.uint8)
    frames[:, :, 64:192] = 255  # the middle square
    video = i3d_input(frames)
    assert video.shape == (3, 16, 224, 224)
    assert video[..., 2:-2].min() > 0.9999  # columns at the seam are blended
    frames = np.arange(8, dtype=np.uint8)[:, None, None, None] * np.ones((1, 224, 224, 3), np.uint8)
    np.testing.assert_allclose((i3d_input(frames)[0, :, 5, 5] + 1) * 127.5, np.repeat(np.arange(8), 2), atol=1e-4)


def test_features_of_a_torchscript_file(tmp_path):
    frames = np.full((9, 32, 40, 3), 255, np.uint8)
    assert I3D(write_i3d(tmp_path / "i3d.pt")).features(frames) == pytest.approx([1] * 6 + [0] * 4, abs=1e-5)


def test_files_that_are_not_i3d(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        I3D(tmp_path / "i3d.pt")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "i3d.pt")
    with pytest.raises(InputError, match="is not a TorchScript file"):
        I3D(tmp_path / "i3d.pt")
    (tmp_path / "i3d.pt").write_text("no")
    with pytest.raises(InputError, match="is not a TorchScript file"):
        I3D(tmp_path / "i3d.pt")
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "i3d.pt"))
    with pytest.raises(InputError, match="is not I3D"):
        I3D(tmp_path / "i3d.pt").features(np.zeros((9, 32, 32, 3), np.uint8))
