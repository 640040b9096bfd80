"""From rows to tables: pooling, seeds, intervals."""

import numpy as np
import pytest

from smcd.evaluation.metrics.columns import BY_NAME, COLUMNS
from smcd.evaluation.metrics.summary import bootstrap, over_time, pooled, summarize


def row(sequence: str, ao: float | None, frames: int = 1, seed: int | None = None, **more) -> dict:
    return {"sequence": sequence, "seed": seed, "ao": ao, "frames_scored": frames, **more}


def test_pooled_weighs_frames_and_the_mean_of_clips_does_not():
    rows = [row("a", 1.0, 7), row("b", 0.2, 1), row("c", None, 0), {"sequence": "d"}]
    summary = summarize(rows)
    assert summary["ao"].mean == pytest.approx(7.2 / 8)
    assert summary["ao_clips"].mean == pytest.approx(0.6)
    assert summary["ao"].clips == 2
    assert "sr50" not in summary  # never a zero
    assert pooled([{"sequence": "a"}], BY_NAME["ao"]) is None


def test_moving_subset():
    rows = [row("a", 0.9, static_ao=0.8), row("b", 0.3, static_ao=0.4), row("c", 0.5, static_ao=0.1), row("d", 0.1)]
    assert summarize(rows)["ao_moving"].mean == pytest.approx(0.4)
    assert summarize(rows)["ao_moving"].clips == 2
    assert "ao_moving" not in summarize([row("a", 0.9, static_ao=0.5)])


def test_seeds_and_their_deviation():
    rows = [row("a", 0.2, seed=33), row("b", 0.4, seed=33), row("a", 0.6, seed=34), row("b", 0.8, seed=34)]
    statistic = summarize(rows)["ao"]
    assert statistic.seeds == pytest.approx([0.3, 0.7])
    assert statistic.mean == pytest.approx(0.5)
    assert statistic.std == pytest.approx(np.std([0.3, 0.7], ddof=1))
    assert statistic.interval == pytest.approx((0.4, 0.6))  # of the clips, whose means over seeds are 0.4 and 0.6
    assert summarize(rows[:2])["ao"].std is None


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(60):
        rows = [row(str(c), value) for c, value in enumerate(rng.normal(0.5, 0.1, 40))]
        low, high = summarize(rows)["ao"].interval
        covered += low <= 0.5 <= high
    assert 51 <= covered <= 60
    assert summarize([row("a", 0.3)])["ao"].interval is None


def test_bootstrap_is_deterministic_and_paired():
    rng = np.random.default_rng(0)
    values = rng.uniform(0, 1, 30)
    first = [row(str(c), value) for c, value in enumerate(values)]
    second = [row(str(c), value + 0.01) for c, value in enumerate(values)]
    names = [entry["sequence"] for entry in first]
    draws = bootstrap([first, second], BY_NAME["ao"], names)
    np.testing.assert_array_equal(draws, bootstrap([first, second], BY_NAME["ao"], names))
    np.testing.assert_allclose(draws[:, 1] - draws[:, 0], 0.01)  # clips differ far more than the methods do
    assert draws[:, 0].std() > 0.03


def test_class_means_come_from_objects():
    iou = [[None, 1.0, 1.0], [None, 0.2, None]]
    summary = summarize(
        [row("a", 0.7, 3, iou=iou, classes=["dog", "cat"]), row("b", 1.0, iou=[[None, 0.6]], classes=["cat"])]
    )
    assert summary["mao"].mean == pytest.approx((1 + 0.4) / 2)
    assert summary["msr50"].mean == pytest.approx(0.75)
    assert "mao" not in summarize([row("a", 0.7, iou=iou, classes=["", ""])])


def test_over_time():
    assert over_time([{"iou": [[None, 0.5, 1.0]]}, {"iou": [[None, 0.7]]}, {"iou": []}, {}]) == [
        None,
        pytest.approx(0.6),
        1.0,
    ]
    assert over_time([]) == []


def test_every_name_of_a_summary_has_a_column():
    iou = [[None, 0.4, 0.9]]
    full = {column.name: 0.5 for column in COLUMNS} | {"frames_scored": 2, "objects_scored": 1, "static_ao": 0.1}
    summary = summarize([{"sequence": "a", "iou": iou, "classes": ["x"], **full}])
    assert len(summary) == len(COLUMNS) + 9
    assert all(BY_NAME[name].name == name for name in summary)
    with pytest.raises(KeyError):
        BY_NAME["fvd_16"]
