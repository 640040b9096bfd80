"""Whole evaluations on sprites: the baselines, the report, and what is refused."""

import csv
import json
import re

import numpy as np
import PIL.Image
import pytest

from smcd.evaluation.metrics.evaluate import Evaluation, evaluate
from smcd.evaluation.metrics.report import read_report, report_json, summary_text, write_report
from smcd.evaluation.metrics.scoring import Options, load_instruments
from smcd.runtime.errors import InputError
from smcd.runtime.media import write_frames
from tests.evaluation.metrics.layout import manifest_of, sprite_clips, write_predictions, write_truth
from tests.evaluation.metrics.tiny import sam2_model

COUNT = 5
NOTHING = Options(tracker="none", clip="none", dino="none")


def baseline(evaluation: Evaluation, name: str) -> dict:
    return next(row for row in evaluation.baselines if row["name"] == name)


def test_baselines(near):
    names = [row["name"] for row in near.baselines]
    assert len(names) == 10
    wrong = [row["name"] for row in near.baselines if row["as_expected"] is False]
    assert set(wrong) <= {"prompts shuffled"}  # a random CLIP knows nothing about prompts
    boxes = baseline(near, "true boxes as prediction")["values"]
    assert (boxes["ao"], boxes["sr50"], boxes["sr75"], boxes["track_iou"]) == pytest.approx((1, 1, 1, 1))
    static = baseline(near, "first frame repeated, from the boxes alone")["values"]
    tracked = baseline(near, "first frame repeated, tracked")["values"]
    assert tracked["ao"] == pytest.approx(static["ao"], abs=0.05)
    assert (tracked["fff_clip"], tracked["fff_dino"]) == pytest.approx((1, 1))
    ceiling = baseline(near, "true video, tracked")["values"]
    assert ceiling["ao"] > static["ao"] + 0.3
    assert ceiling["ao"] > 0.7
    itself = baseline(near, "true videos against themselves")["values"]
    assert itself["fvd_8x2"] < 1e-6
    assert itself["ssim"] == pytest.approx(1)
    assert baseline(near, "half of the true videos against the other half")["values"]["fvd_8x2"] > 1e-4
    back = baseline(near, "true videos reversed")["values"]
    assert back["ao"] < ceiling["ao"]
    assert back["fvd_8x2"] > 1e-6
    assert baseline(near, "random boxes against random boxes")["values"]["ao"] == pytest.approx(0.1, abs=0.02)
    assert baseline(near, "images shuffled")["values"]["fff_dino"] < 0.99


def test_a_still_video_scores_the_static_baseline(still):
    static = baseline(still, "first frame repeated, from the boxes alone")["values"]
    assert still.summary["ao"].mean == pytest.approx(static["ao"], abs=0.05)
    assert still.summary["fff_dino"].mean == pytest.approx(1)
    assert still.summary["psnr"].mean == 100
    assert still.summary["ao_moving"].mean < 0.5


def test_seeds_are_scored_apart_and_averaged(near):
    assert len(near.rows) == 2 * COUNT
    ao = near.summary["ao"]
    assert ao.mean == pytest.approx(np.mean(ao.seeds))
    assert ao.std > 0
    assert ao.interval[0] < ao.mean < ao.interval[1]
    assert len(near.summary["fvd_8x2"].seeds) == 2
    assert near.summary["fvd_8x2"].interval is None


def test_report(near, reports):
    report = read_report(reports[0])
    assert report == json.loads(json.dumps(report_json(near)))
    assert report["manifest"]["sha256"] == near.manifest.sha256
    assert report["scored"] == report["scored"] | {
        "clips": COUNT,
        "missing": [],
        "seeds": [33, 34],
        "formats": {"png": 10},
    }
    assert {"tracker", "clip", "dino", "fidelity", "i3d"} == set(report["models"])
    assert all(len(report["models"][name]["sha256"]) == 64 for name in ("clip", "dino", "i3d"))
    assert [column["name"] for column in report["columns"]] == list(report["summary"])
    assert report["left_out"] == {}
    assert report["classes"].keys() == {name for clip in near.manifest.clips for name in clip.classes}
    with (reports[0] / "clips.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * COUNT
    weights = [int(row["frames_scored"]) for row in rows]
    pooled = np.average([float(row["ao"]) for row in rows], weights=weights)
    assert pooled == pytest.approx(report["summary"]["ao"]["mean"])


def test_page(reports):
    page = (reports[0] / "index.html").read_text()
    assert page.count("data:image/jpeg;base64,") == COUNT
    assert page.count("data:video/mp4;base64,") == COUNT
    assert page.count("<svg") == 1
    assert not re.search(r'(src|href)="(?!data:)', page)  # self-contained
    assert "true video, tracked" in page
    assert "0.8" in page


def test_names_from_outside_are_escaped_in_pages(folder, clips, tmp_path):
    evaluation = evaluate(folder / "still", folder / "truth", NOTHING, name="<script>x</script>")
    write_report(tmp_path / "report", evaluation)
    assert "<script>" not in (tmp_path / "report" / "index.html").read_text()


def test_cells_that_a_spreadsheet_would_compute_are_quoted(clips, tmp_path):
    named = {"=1+1": clips["sprite_000"], "plain": clips["sprite_001"]}
    write_truth(tmp_path / "truth", named)
    write_predictions(tmp_path / "pred", {name: clip.frames for name, clip in named.items()})
    write_report(tmp_path / "report", evaluate(tmp_path / "pred", tmp_path / "truth", NOTHING))
    with (tmp_path / "report" / "clips.csv").open() as file:
        assert [row["sequence"] for row in csv.DictReader(file)] == ["'=1+1", "plain"]


def test_very_wide_videos_have_pictures_too(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (20, 16, 1024, 3), dtype=np.uint8)
    write_frames(tmp_path / "truth" / "a" / "gt_img", "gt_img", frames)
    write_predictions(tmp_path / "pred", {"a": frames})
    write_report(tmp_path / "report", evaluate(tmp_path / "pred", tmp_path / "truth", NOTHING))
    with PIL.Image.open(tmp_path / "report" / "clips" / "a.jpg") as strip:
        assert strip.size == (20 * (7 * 127 + 8), 2 * 135)


def test_missing_models_leave_their_columns_out(folder, tmp_path):
    options = Options(tracker="sam2", sam2=str(tmp_path), clip=str(tmp_path), dino="none")
    evaluation = evaluate(folder / "still", folder / "truth", options)
    assert set(evaluation.summary) == {"psnr", "ssim"}
    assert {name: text.split(" (")[0] for name, text in evaluation.left_out.items()} == {
        "tracker": f"{tmp_path} cannot be loaded",
        "clip": f"{tmp_path} cannot be loaded",
        "dino": "not asked for",
        "i3d": "FVD needs I3D's TorchScript file: --fvd_weights",
    }
    assert "left out: clip:" in summary_text(evaluation)
    write_report(tmp_path / "report", evaluation)
    page = (tmp_path / "report" / "index.html").read_text()
    assert "cannot be loaded" in page
    assert "Best clips by PSNR" in page


def test_without_true_frames_the_boxes_still_tell(folder, clips, tmp_path):
    manifest_of(clips).write(tmp_path / "manifest.json")
    evaluation = evaluate(folder / "near", tmp_path / "manifest.json", Options(clip="none", dino="none"))
    assert evaluation.summary["ao"].mean > 0.7
    assert "psnr" not in evaluation.summary
    assert evaluation.left_out["fidelity"] == "the true videos are not at hand"
    assert [row["name"] for row in evaluation.baselines] == [
        "true boxes as prediction",
        "first frame repeated, from the boxes alone",
        "random boxes against random boxes",
    ]


def test_true_frames_beside_some_predictions_are_enough_for_them(clips, tmp_path):
    """The published layout of a run that was cut short: `gt_img` lies only beside what was generated."""
    manifest_of(clips).write(tmp_path / "manifest.json")
    some = {name: clips[name] for name in list(clips)[:2]}
    write_truth(tmp_path / "seed_33", some, with_manifest=False)
    write_predictions(tmp_path / "seed_33", {name: clip.frames for name, clip in some.items()})
    evaluation = evaluate(tmp_path, tmp_path / "manifest.json", NOTHING, allow_partial=True)
    assert evaluation.sequences == list(some)
    assert evaluation.summary["psnr"].mean == 100
    picture = next((tmp_path / "seed_33" / next(iter(some)) / "gt_img").iterdir()).parent
    picture.rename(picture.with_name("gone"))
    evaluation = evaluate(tmp_path, tmp_path / "manifest.json", NOTHING, allow_partial=True)
    assert evaluation.left_out["fidelity"] == "the true videos are not at hand"


def test_sam2_measures_a_whole_evaluation(folder, clips, tmp_path):
    sam2_model().save_pretrained(tmp_path / "sam2")
    some = list(clips)[:2]
    write_truth(tmp_path / "truth", {name: clips[name] for name in some})
    options = Options(tracker="sam2", sam2=str(tmp_path / "sam2"), clip="none", dino="none")
    evaluation = evaluate(folder / "still", tmp_path / "truth", options)
    assert 0 <= evaluation.summary["ao"].mean < 0.5  # a random model
    assert evaluation.models["tracker"]["name"] == "sam2"
    assert len(evaluation.models["tracker"]["sha256"]) == 64


def test_true_frames_that_are_not_the_manifest_s(clips, folder, tmp_path):
    write_truth(tmp_path / "truth", clips)
    picture = tmp_path / "truth" / "sprite_001" / "gt_img" / "gt_img_3.png"
    picture.write_bytes((tmp_path / "truth" / "sprite_001" / "gt_img" / "gt_img_4.png").read_bytes())
    with pytest.raises(InputError, match="true frames of sprite_001 are not those of the manifest"):
        evaluate(folder / "still", tmp_path / "truth", NOTHING)


def test_frames_of_another_size(clips, folder, tmp_path):
    write_predictions(tmp_path / "pred", {name: clip.frames[:, :32, :32] for name, clip in clips.items()})
    with pytest.raises(InputError, match="8 frames of 32 x 32 pixels; it should be 8 of 48 x 48"):
        evaluate(tmp_path / "pred", folder / "truth", NOTHING)


def test_fvd_needs_two_clips_of_one_length(folder, clips, options, tmp_path):
    name = next(iter(clips))
    write_truth(tmp_path / "one", {name: clips[name]})
    with pytest.raises(InputError, match="at least 2 clips; there is 1"):
        evaluate(folder / "still", tmp_path / "one", options)
    short = sprite_clips(1, size=48, frames=6)
    write_truth(tmp_path / "mixed", clips | {"short": short[name]})
    write_predictions(tmp_path / "pred", {name: clip.frames for name, clip in (clips | {"short": short[name]}).items()})
    with pytest.raises(InputError, match=r"one length; there are \[6, 8\] frames"):
        evaluate(tmp_path / "pred", tmp_path / "mixed", options)


def test_a_seed_that_lacks_every_clip_of_the_other(clips, folder, tmp_path):
    first, second, *_ = clips
    write_predictions(tmp_path / "pred" / "seed_1", {first: clips[first].frames})
    write_predictions(tmp_path / "pred" / "seed_2", {second: clips[second].frames})
    with pytest.raises(InputError, match="no clip has a video of every seed"):
        evaluate(tmp_path / "pred", folder / "truth", NOTHING, allow_partial=True)


def test_an_unknown_tracker():
    with pytest.raises(InputError, match="choose from csrt, sam2, none"):
        load_instruments(Options(tracker="kcf"))


def test_videos_without_boxes_or_prompts(clips, folder, options, tmp_path):
    truth = write_truth(tmp_path / "truth", clips, with_manifest=False)
    for path in truth.glob("*/*.txt"):
        path.unlink()
    evaluation = evaluate(folder / "still", truth, options)
    assert set(evaluation.summary) == {"fff_clip", "fff_dino", "psnr", "ssim", "fvd_8x2"}
    assert evaluation.left_out == {
        "clip_sim": "no clip has a prompt",
        "tracker": "no clip has boxes",
        "classes": "no clip has a class",
    }
