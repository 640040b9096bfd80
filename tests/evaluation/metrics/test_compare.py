"""Comparisons of reports: paired differences, and reports that do not compare."""

import base64
import copy
import json
import re
import shutil

import imageio.v3 as imageio
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smcd.evaluation.metrics.compare import compare, comparison_text, verdict, write_comparison
from smcd.evaluation.metrics.evaluate import evaluate
from smcd.evaluation.metrics.report import read_report, write_report
from smcd.runtime.errors import InputError
from smcd.runtime.media import write_image
from tests.evaluation.metrics.layout import noisy, write_predictions


def test_comparison(reports, tmp_path):
    comparison = compare(reports)
    write_comparison(tmp_path / "out", comparison, reports)
    metrics = {metric["name"]: metric for metric in comparison["metrics"]}
    near, still = metrics["ao"]["methods"]
    assert still["difference"] == pytest.approx(still["mean"] - near["mean"])
    low, high = still["difference_interval"]
    assert low < still["difference"] < high < 0
    assert verdict(still, higher_is_better=True) == "worse"
    assert verdict(still, higher_is_better=False) == "better"
    assert verdict({"difference_interval": [-1, 1]}, True) == "unclear"
    assert metrics["fvd_8x2"]["methods"][1]["difference_interval"] is None
    text = comparison_text(comparison)
    assert re.search(r"^AO +0\.\d+ +0\.\d+ \(-0\.\d+ too few clips\)$", text, re.MULTILINE)
    page = (tmp_path / "out" / "index.html").read_text()
    assert "still - near" in page
    assert page.count("<svg") == 1
    assert "fewer than 20 clips are too few" in page
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_the_page_plays_the_same_clip_of_all_methods_side_by_side(reports, tmp_path):
    comparison = compare(reports)
    spread = [abs(near - still) for near, still in (clip["values"] for clip in comparison["most_different"]["clips"])]
    assert spread == sorted(spread, reverse=True)
    write_comparison(tmp_path / "out", comparison, reports)
    page = (tmp_path / "out" / "index.html").read_text()
    videos = re.findall(r'src="data:video/mp4;base64,([^"]+)"', page)
    assert len(videos) == 5
    assert re.search(r"<span>true video</span><span>near</span><span>still</span>", page)
    (tmp_path / "video.mp4").write_bytes(base64.b64decode(videos[0]))
    frames = imageio.imread(tmp_path / "video.mp4")
    assert frames.shape == (8, 128, 3 * (127 + 4) + 1, 3)
    true, near, still = (frames[:, :127, start : start + 127].astype(float) for start in (0, 131, 262))
    assert np.abs(true[-1] - near[-1]).mean() < np.abs(true[-1] - still[-1]).mean()
    write_comparison(tmp_path / "small", compare([*reports, reports[0]]), [*reports, reports[0]])
    assert (tmp_path / "small" / "index.html").stat().st_size < 2_000_000


@pytest.mark.parametrize("content", [None, b"", "wide", "rows", "long"])
def test_strips_that_are_missing_or_of_another_shape_leave_their_videos_out(reports, tmp_path, content):
    shutil.copytree(reports[1], tmp_path / "report")
    path = tmp_path / "report" / "clips" / "sprite_000.jpg"
    path.unlink()
    if content is not None:
        shapes = {"wide": (270, 8 * 136, 3), "rows": (3 * 135, 8 * 135, 3), "long": (135, 9 * 135, 3)}
        path.write_bytes(content) if content == b"" else write_image(path, np.zeros(shapes[content], np.uint8))
    paths = [reports[0], tmp_path / "report"]
    write_comparison(tmp_path / "out", compare(paths), paths)
    assert (tmp_path / "out" / "index.html").read_text().count("data:video/mp4") == 4


def test_a_difference_is_called_one_from_20_clips_on(reports, tmp_path):
    for name, path in zip("ab", reports, strict=True):
        report = read_report(path)
        report["clips"] = [row | {"sequence": f"{row['sequence']}_{n}"} for row in report["clips"] for n in range(4)]
        report["scored"]["clips"] = 20
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.json").write_text(json.dumps(report))
    assert re.search(
        r"^AO .*\(-0\.\d+ worse\)$", comparison_text(compare([tmp_path / "a", tmp_path / "b"])), re.MULTILINE
    )


def test_what_a_report_holds_is_escaped_in_the_page(reports, tmp_path):
    report = read_report(reports[0])
    report["name"] = report["manifest"]["sha256"] = report["manifest"]["dataset"] = "<script>"
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.json").write_text(json.dumps(report))
    write_comparison(tmp_path / "out", compare([tmp_path / "a", tmp_path / "b"]))
    page = (tmp_path / "out" / "index.html").read_text()
    assert "<script>" not in page
    assert page.count("&lt;script&gt;") > 4


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("<script>\x1b[2J" * 99),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_report_is_compared_or_refused_in_one_line(reports, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("any")
    report = copy.deepcopy(read_report(reports[0]))
    del report["clips"][2:]
    place = report
    for _ in range(data.draw(st.integers(0, 3))):  # somewhere inside
        keys = list(place) if isinstance(place, dict) else range(len(place)) if isinstance(place, list) else ()
        inside = [key for key in keys if isinstance(place[key], dict | list) and place[key]]
        if not inside:
            break
        place = place[data.draw(st.sampled_from(inside))]
    key = data.draw(st.sampled_from(list(place) if isinstance(place, dict) else range(len(place))))
    place[key] = data.draw(anything)
    (folder / "report.json").write_text(json.dumps(report))
    message = ""
    try:
        comparison = compare([reports[0], folder], allow_partial=True)
        write_comparison(folder / "out", comparison)
        assert "\x1b" not in comparison_text(comparison)
        assert "<script>" not in (folder / "out" / "index.html").read_text()
    except InputError as error:
        message = str(error)
    assert "\n" not in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.update(name="x" * 10**6), "name: String should have at most 300"),
        (lambda r: r["columns"].extend(r["columns"] * 100), "columns: List should have at most 100"),
        (lambda r: r["columns"][0].update(digits=10**6), "columns.0.digits: Input should be less than"),
        (lambda r: r["iou_over_time"].update(predictions=[2]), "iou_over_time.predictions.0.*less than or equal to 1"),
        (lambda r: r["iou_over_time"].update(predictions=[0] * 10**5), "iou_over_time.predictions: List should have"),
        (lambda r: r["clips"][1].update(ao=1e300), "clips.1.ao.*: Input should be less than"),
        (lambda r: r["clips"][1].update(ao=float("nan")), "clips.1.ao"),
        (lambda r: r["clips"][1].update(frames_scored=-1), "clips.1.frames_scored: Input should be greater"),
        (lambda r: r["clips"][1].pop("frames_scored"), "clips.1: frames_scored is missing"),
        (lambda r: r["clips"][1].update(sequence="../x"), "clips.1.sequence: String should match"),
        (lambda r: r["manifest"].pop("sha256"), "manifest.sha256: Field required"),
    ],
)
def test_entries_of_another_type_or_out_of_range(reports, tmp_path, change, message):
    report = read_report(reports[0])
    change(report)
    (tmp_path / "report.json").write_text(json.dumps(report))
    with pytest.raises(InputError, match=f"report.json: {message}") as error:
        compare([reports[0], tmp_path])
    assert "\n" not in str(error.value)


def test_a_method_does_not_differ_from_itself(reports):
    for metric in compare([reports[0], reports[0]])["metrics"]:
        assert metric["methods"][1]["difference"] == 0
        assert metric["methods"][1]["difference_interval"] in (None, [0, 0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("manifest", "sha256", "0"), "made with another manifest"),
        (("models", "tracker", {"name": "sam2", "source": "x", "sha256": "0"}), "made with another tracker"),
        (("models", "clip", {"source": "x", "sha256": "0"}), "made with another clip"),
    ],
)
def test_reports_that_do_not_compare(reports, tmp_path, change, message):
    report = read_report(reports[1])
    section, key, value = change
    report[section][key] = value
    (tmp_path / "report.json").write_text(json.dumps(report))
    with pytest.raises(InputError, match=message):
        compare([reports[0], tmp_path])


def test_comparison_of_what_is_not_a_report(reports, tmp_path):
    (tmp_path / "report.json").write_text("{}")
    for paths, message in (
        ([reports[0]], "at least 2 reports"),
        ([reports[0], tmp_path / "none"], f"{tmp_path / 'none'}: "),
        ([reports[0], tmp_path], "is no report"),
    ):
        with pytest.raises(InputError, match=message):
            compare(paths)


def test_a_partial_set_is_compared_on_its_own_clips_without_fvd(folder, options, clips, reports, tmp_path):
    some = list(clips)[:2]
    write_predictions(tmp_path / "pred", {name: noisy(clips[name].frames, 4) for name in some})
    with pytest.raises(InputError, match="3 of 5 clips are missing: sprite_002, sprite_003, sprite_004"):
        evaluate(tmp_path / "pred", folder / "truth", options)
    partial = evaluate(tmp_path / "pred", folder / "truth", options, allow_partial=True)
    assert partial.sequences == some
    assert partial.manifest.sha256 == read_report(reports[0])["manifest"]["sha256"]
    write_report(tmp_path / "report", partial)
    assert read_report(tmp_path / "report")["scored"]["missing"] == list(clips)[2:]
    assert "2 of 5 clips" in (tmp_path / "report" / "index.html").read_text()
    with pytest.raises(InputError, match="lacks 3 clips"):
        compare([reports[0], tmp_path / "report"])
    comparison = compare([reports[0], tmp_path / "report"], allow_partial=True)
    assert comparison["clips"] == 2
    assert not any(metric["name"].startswith("fvd") for metric in comparison["metrics"])
    assert comparison["iou_over_time"]["methods"] == {}  # the reports keep those of whole sets alone
