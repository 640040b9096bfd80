"""Evaluations in this process: what is written, going on after a stop, and what is refused."""

import dataclasses
import hashlib
import shutil
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import PIL.Image
import pytest

from smcd.config import EvaluationConfig, SamplingConfig, read_config
from smcd.evaluation.generate import run_evaluation
from smcd.evaluation.metrics.report import read_report
from smcd.runtime.errors import InputError
from smcd.sampler import Sampler, clip_generator

NAMES = [f"GOT-10k_Val_{n:06d}" for n in range(1, 6)]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def clips_in(folder: Path) -> dict[str, bytes]:
    """All files of all clips."""
    return {name: data for name, data in contents(folder).items() if name.count("/") and "report/" not in name}


@pytest.mark.parametrize(("dataset", "objects", "count"), [("got10k", 1, 2), ("youvis", 8, 2), ("sprites", 3, 2)])
def test_the_published_layout_and_what_the_model_is_given(config, tmp_path, monkeypatch, dataset, objects, count):
    calls = []
    original = Sampler.__call__

    def spy(self, *arguments):
        calls.append(arguments)
        return original(self, *arguments)

    monkeypatch.setattr(Sampler, "__call__", spy)
    run_evaluation(config(dataset=dataset, max_clips=count, num_max_obj=3, tracker="csrt"))
    out = tmp_path / "out"
    names = sorted(path.name for path in out.iterdir() if path.is_dir() and path.name != "report")
    assert len(calls) == len(names) == count
    folders = {
        f"{kind}{boxes}_img/{kind}{boxes}_img_{f}.png"
        for kind in ("pred", "gt")
        for boxes in ("", "_box")
        for f in (0, 1, 2)
    }
    files = {"gt_video.gif", "pred_video.gif", "pred_video.mp4", "boxes_gt.gif", "boxes_pred.gif", "prompt.txt"}
    for name, (prompts, images, boxes, phrases, generators) in zip(names, calls, strict=True):
        folder = out / name
        assert [generator.initial_seed() for generator in generators] == [clip_generator(33, name).initial_seed()]
        assert set(contents(folder)) == folders | files | {f"box_{f}.txt" for f in range(3)}
        given = np.asarray(images[0])
        assert given.dtype == np.uint8
        assert np.array_equal(given, imageio.imread(folder / "gt_img" / "gt_img_0.png"))
        assert prompts == [(folder / "prompt.txt").read_text()[:-1]]
        assert len(phrases[0]) == objects
        for f, row in enumerate(boxes[0]):
            written = np.loadtxt(folder / f"box_{f}.txt", delimiter=",", ndmin=2)
            assert written.shape == (objects, 4)
            assert len(row) == objects
            for box, line in zip(row, written, strict=True):
                assert line == pytest.approx(box or [0, 0, 0, 0], abs=1e-6)
        with PIL.Image.open(folder / "pred_video.gif") as gif:
            assert (gif.n_frames, gif.size) == (3, (32, 32))
            assert 120 <= gif.info["duration"] <= 130
        assert imageio.imread(folder / "pred_video.mp4").shape == (3, 32, 32, 3)
        seen = imageio.imread(folder / "gt_box_img" / "gt_box_img_0.png") != given
        assert seen.any() == any(boxes[0][0])
    report = read_report(out / "report")
    assert (report["manifest"]["dataset"], report["scored"]["clips"]) == (dataset, count)
    assert report["scored"]["formats"] == {"png": count}
    assert 0 <= report["summary"]["ao"]["mean"] <= 1
    assert report["generator"]["seeds"] == [33]
    assert report["generator"]["weights_sha256"] in (out / "config.yaml").read_text()
    assert report["generator"]["weights_sha256"] in (out / "report" / "index.html").read_text()


def test_batches_differ_by_at_most_a_gray_level_and_again_not_at_all(config, tmp_path):
    """With videos that show something: a tracker on noise makes much of one gray level."""
    given = {
        "dataset": "sprites",
        "sprites_clips": 4,
        "num_max_obj": 4,
        "validation_data": SamplingConfig(4, 64, 64, 8),
    }
    for out, size, report in (("one", 1, True), ("four", 4, True), ("again", 4, False)):
        run_evaluation(config(out, batch_size=size, tracker="csrt", report=report, **given))
    one, four, again = (clips_in(tmp_path / out) for out in ("one", "four", "again"))
    assert four == again
    assert set(one) == set(four)
    for name in one:
        if "pred_img/" in name:
            a, b = (imageio.imread(tmp_path / out / name).astype(int) for out in ("one", "four"))
            assert np.abs(a - b).max() <= 1
    reports = [read_report(tmp_path / out / "report")["summary"] for out in ("one", "four")]
    assert set(reports[0]) == set(reports[1]) >= {"ao", "sr50", "psnr", "ssim"}
    for name, statistic in reports[0].items():
        assert statistic["mean"] == pytest.approx(reports[1][name]["mean"], abs=1e-3)


def test_a_half_finished_group_is_completed_with_the_same_clips(config, tmp_path):
    out = tmp_path / "out"
    run_evaluation(config(batch_size=2, max_clips=4, seeds=[33, 34], report=False))
    before = clips_in(out)
    kept = out / "seed_34" / NAMES[2]
    shutil.rmtree(out / "seed_34" / NAMES[3])  # in one group with the one before
    shutil.rmtree(out / "seed_33" / NAMES[0])
    left = out / "seed_33" / f".{NAMES[0]}.0123abcd.partial"
    left.mkdir()
    written = kept.stat().st_mtime_ns
    run_evaluation(config(batch_size=2, max_clips=4, seeds=[33, 34]))
    assert clips_in(out) == before
    assert kept.stat().st_mtime_ns == written
    assert not left.exists()


def test_seeds_can_be_added_even_to_one(config, tmp_path):
    out = tmp_path / "out"
    run_evaluation(config(seed=34, max_clips=2, report=False))
    first = clips_in(out)
    assert (out / NAMES[0] / "pred_img").is_dir()
    run_evaluation(config(seeds=[33, 34], max_clips=2))
    both = clips_in(out)
    assert {name.removeprefix("seed_34/"): data for name, data in both.items() if "seed_34/" in name} == first
    assert len(both) == 2 * len(first)
    assert both[f"seed_33/{NAMES[0]}/pred_img/pred_img_2.png"] != first[f"{NAMES[0]}/pred_img/pred_img_2.png"]
    assert read_report(out / "report")["scored"]["seeds"] == [33, 34]
    with pytest.raises(InputError, match="seeds are 33 and lack 34: choose another output_dir"):
        run_evaluation(config(seeds=[33], max_clips=2))


def killed(*_):
    raise OSError("killed here")


def test_nothing_is_left_to_do(config, tmp_path, monkeypatch, capsys):
    run_evaluation(config(max_clips=2))
    before = clips_in(tmp_path / "out")
    monkeypatch.setattr("smcd.evaluation.generate.dataset_videos.Sampler", None)  # no weights are loaded
    (tmp_path / "out" / "report" / "old.txt").write_text("old")
    with monkeypatch.context() as patch:
        patch.setattr("smcd.evaluation.metrics.report.report_page", killed)
        with pytest.raises(OSError, match="killed here"):
            run_evaluation(config(max_clips=2))
    assert (tmp_path / "out" / "report" / "old.txt").is_file()  # it stays until the new one is complete
    run_evaluation(config(max_clips=2, tracker="csrt"))
    assert clips_in(tmp_path / "out") == before
    written = sorted(p.name for p in (tmp_path / "out" / "report").iterdir())
    assert written == ["clips", "clips.csv", "index.html", "report.json"]
    assert "AO " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 3}, r"out/config.yaml: .*num_inference_steps is 3 and was 2: choose another output_dir"),
        ({"img_free_guidance": 1.5}, "img_free_guidance is 1.5 and was 0.0"),
        ({"batch_size": 2}, "batch_size is 2 and was 1"),
        ({"trained_ckpt_path": "weights"}, "trained_ckpt_path is weights and was sprites"),
        ({"seed": 34}, "seeds are 34 and lack 33"),
        (
            {"max_clips": 3},
            r"manifest.json: .*; 2 clips are no longer there \(GOT-10k_Val_000004, GOT-10k_Val_000005\)",
        ),
        ({"stride": 2}, "frames was 'start 0, stride 1', is 'start 0, stride 2'; 5 clips are changed"),
        ({"dataset": "sprites"}, "dataset was 'got10k', is 'sprites'"),
    ],
)
def test_other_settings_never_mix(config, tmp_path, monkeypatch, changes, message):
    with monkeypatch.context() as patch:
        patch.setattr("smcd.evaluation.generate.sampling.sample", lambda sampler, group, true, objects: true)
        patch.setattr("smcd.evaluation.generate.sampling.write_clip", lambda folder, *_: folder.mkdir())
        run_evaluation(config(report=False))
    before = contents(tmp_path)
    with pytest.raises(InputError, match=message):
        run_evaluation(config(**changes))
    assert contents(tmp_path) == before


def test_other_weights_of_the_same_name_never_mix(config, tmp_path, pipe):
    weights = tmp_path / "weights"
    pipe.save_pretrained(weights)
    run_evaluation(config(max_clips=2, trained_ckpt_path=str(weights), report=False))
    shutil.rmtree(tmp_path / "out" / NAMES[1])
    pipe.unet.conv_out.bias.data += 1
    pipe.save_pretrained(weights)
    with pytest.raises(InputError, match="the weights should have the SHA-256"):
        run_evaluation(config(max_clips=2, trained_ckpt_path=str(weights)))
    assert not (tmp_path / "out" / NAMES[1]).exists()
    with pytest.raises(InputError, match="weights_sha256: the weights should have the SHA-256 abc"):
        run_evaluation(config("new", trained_ckpt_path=str(weights), weights_sha256="abc"))
    assert not (tmp_path / "new").exists()


def test_clips_of_an_unknown_run_are_refused(config, tmp_path):
    (tmp_path / "out" / NAMES[3]).mkdir(parents=True)
    with pytest.raises(InputError, match=f"{NAMES[3]}: is there without the config.yaml and manifest.json"):
        run_evaluation(config())
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"video_length": 1}, "video_length is 1; an evaluation needs videos of at least 2 frames"),
        ({"n_sample_frames": 8}, "eval_data.n_sample_frames is 8, but video_length is 3"),
        ({"width": 256}, "eval_data.width is 256, but width is 32"),
        ({"batch_size": 0}, "batch_size is 0; it must be from 1 to 10000"),
        ({"stride": 0}, "eval_data.stride is 0"),
        ({"num_max_obj": 0}, "eval_data.num_max_obj is 0"),
        ({"fps": float("nan")}, "fps is nan"),
        ({"seeds": [3, 3]}, "seeds are 3, 3"),
        ({"seed": -1}, "seed is -1"),
        ({"output_dir": " "}, "output_dir is empty"),
        ({"dataset": "davis"}, "dataset is 'davis'; choose from got10k, youvis"),
        ({"dataset": None, "datasets": ["got10k", "youvis"]}, "names got10k, youvis; choose one with --dataset"),
        ({"dataset": None, "datasets": ["davis"]}, "dataset is 'davis'"),
        ({"tracker": "kcf"}, "tracker is 'kcf'; choose from csrt, sam2, none"),
        ({"fvd_weights": "none.pt", "video_length": 8}, "none.pt: there is no such file"),
        ({"fvd_weights": "none.pt", "max_clips": 1}, "FVD needs at least 2 clips"),
        ({"fvd_weights": "none.pt"}, "FVD needs clips of at least 5 frames; these have 3"),
        ({"validation_data": SamplingConfig(3, 40, 32, 1)}, "width 40 is not a multiple of 16: the nearest is 32"),
        ({"trained_ckpt_path": " "}, "a path is empty"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_written(config, tmp_path, changes, message):
    with pytest.raises(InputError) as error:
        run_evaluation(config(**changes))
    assert message in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("paths", [{"object_gate": False}, {"image_gate": False, "image_concat": False}])
def test_weights_without_a_path_for_the_conditions(config, tmp_path, paths):
    from smcd.sprites.tiny import tiny_pipeline

    tiny_pipeline(**paths).save_pretrained(tmp_path / "weights")
    with pytest.raises(InputError, match=r"weights: (boxes were|an image was) given, but this model has no"):
        run_evaluation(config(trained_ckpt_path=str(tmp_path / "weights")))
    assert not (tmp_path / "out").exists()


def test_an_output_that_cannot_be_written(config, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be written: .*file is a file"):
        run_evaluation(config("file/out"))


def test_a_full_disk_leaves_no_half_written_clip(config, tmp_path, monkeypatch):
    from smcd.runtime import media

    written, original = [], media.write_video

    def full_after_a_while(path, *arguments):
        written.append(path)
        if len(written) > 8:
            raise OSError(28, "No space left on device")
        original(path, *arguments)

    monkeypatch.setattr("smcd.runtime.media.write_video", full_after_a_while)
    with pytest.raises(InputError, match=r"GOT-10k_Val_000002: cannot be written .*No space left"):
        run_evaluation(config(max_clips=3, report=False))
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [NAMES[0], "config.yaml", "manifest.json"]
    monkeypatch.undo()
    run_evaluation(config(max_clips=3, report=False))
    run_evaluation(config("whole", max_clips=3, report=False))
    assert clips_in(tmp_path / "out") == clips_in(tmp_path / "whole")


def test_the_config_of_a_run_makes_the_same_again(config, tmp_path):
    run_evaluation(config(max_clips=2, report=False))
    resolved = read_config(EvaluationConfig, tmp_path / "out" / "config.yaml")
    run_evaluation(dataclasses.replace(resolved, output_dir=str(tmp_path / "again")))
    assert clips_in(tmp_path / "again") == clips_in(tmp_path / "out")


def test_a_clips_generator_depends_on_seed_and_name_alone():
    digest = hashlib.sha256(b"33 clip").digest()
    assert clip_generator(33, "clip").initial_seed() == int.from_bytes(digest[:8], "big") // 2
    seeds = {clip_generator(seed, name).initial_seed() for seed in (33, 34) for name in ("a", "b", "1", "11")}
    assert len(seeds) == 8
