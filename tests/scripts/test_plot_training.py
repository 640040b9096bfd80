"""The picture of training losses."""

import json

import imageio.v3 as imageio
import numpy as np
import pytest

from scripts.plot_training import draw_curves, read_losses, smooth
from smcd.runtime.errors import InputError


def write(folder, entries):
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return folder


def test_one_panel_for_each_run(tmp_path):
    losses = [{"step": step, "loss": 1 / step} for step in range(1, 200)]
    first = write(tmp_path / "first", [*losses, {"step": 100, "validation/loss": 0.5}])
    second = write(tmp_path / "second", [{"step": 1, "loss": 0.0}])
    draw_curves([first, second], tmp_path / "curves.png")
    height, width, _ = imageio.imread(tmp_path / "curves.png").shape
    assert width == 2 * 360
    assert height == 240


def test_steps_that_were_repeated_count_once_the_last_time(tmp_path):
    run = write(tmp_path / "run", [{"step": 1, "loss": 3.0}, {"step": 2, "loss": 9.0}, {"step": 2, "loss": 2.0}])
    (steps, losses), validation = read_losses(run)
    assert steps.tolist() == [1, 2]
    assert losses.tolist() == [3, 2]
    assert validation == {}


def test_validation_has_a_curve_for_each_of_its_losses(tmp_path):
    entry = {"step": 1, "loss": 3.0, "validation/loss": 2.0, "validation/loss_without_image": 2.5}
    _, validation = read_losses(write(tmp_path / "run", [entry]))
    assert {name: losses.tolist() for name, (_, losses) in validation.items()} == {
        "held out": [2.0],
        "without image": [2.5],
    }


def test_smoothing_keeps_a_constant():
    assert smooth(np.full(100, 0.3)) == pytest.approx(0.3)


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        draw_curves([tmp_path], tmp_path / "curves.png")
    with pytest.raises(InputError, match=r"written as \.png or \.jpg"):
        draw_curves([tmp_path], tmp_path / "curves")
