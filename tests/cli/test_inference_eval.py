"""inference_eval.py, as users run it: the published command, several processes, and runs that are stopped."""

import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from smcd.config import EvaluationConfig, load
from smcd.evaluation.generate import run_evaluation
from smcd.evaluation.metrics.report import read_report
from smcd.runtime.errors import InputError
from smcd.sprites.layouts import make_world, write_got10k
from tests.convert.published import write_diffusers_base, write_published

SMALL = ["--width", "32", "--height", "32", "--num_inference_steps", "2", "--clip", "none", "--dino", "none"]
CLIPS = 4


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data")
    write_got10k(path, range(CLIPS), 5, 8, 48, make_world(["motions=[line]"]), "val")
    return path


def command(data: Path, out: Path, *arguments: str, launcher: tuple[str, ...] = ()) -> list[str]:
    flags = ["--dataset", "got10k", f"eval_data.path={data}", "--output_dir", str(out), *SMALL, *arguments]
    return [sys.executable, *launcher, "inference_eval.py", *flags]


ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def run(*arguments, **options) -> subprocess.CompletedProcess:
    return subprocess.run(command(*arguments, **options), capture_output=True, text=True, env=ENVIRONMENT)


def config(data: Path, out: Path, *arguments: str) -> EvaluationConfig:
    return load(EvaluationConfig, command(data, out, *arguments)[2:])


def clips_in(folder: Path) -> dict[str, bytes]:
    files = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: data for name, data in files.items() if name.count("/") and "report/" not in name}


def numbers(folder: Path) -> dict:
    report = read_report(folder / "report")
    return {key: report[key] for key in ("manifest", "scored", "summary", "baselines", "classes", "clips")}


SHARED = ["--video_length", "3", "--seeds", "33,34", "--batch_size", "2"]


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory) -> Path:
    """What one process makes without a stop."""
    out = tmp_path_factory.mktemp("whole") / "out"
    run_evaluation(config(data, out, *SHARED))
    return out


def test_two_processes_make_the_same(data, tmp_path, whole):
    launcher = ("-m", "torch.distributed.run", "--nproc_per_node", "2")
    done = run(data, tmp_path / "out", *SHARED, launcher=launcher)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("the report:") == 1
    assert done.stderr.count("attention:") == 2  # both had a share
    assert clips_in(tmp_path / "out") == clips_in(whole)
    assert numbers(tmp_path / "out") == numbers(whole)


def test_runs_that_are_stopped_and_gone_on_with_make_the_same(data, tmp_path, whole):
    out = tmp_path / "out"
    seen = 0
    for stop in (signal.SIGTERM, signal.SIGKILL):
        process = subprocess.Popen(command(data, out, *SHARED), stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
        while len(list(out.glob("seed_*/GOT*"))) <= seen:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.002)
        process.send_signal(stop)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == (128 + stop if stop == signal.SIGTERM else -stop)
        assert "Traceback" not in errors
        if stop == signal.SIGTERM:
            assert not list(out.rglob("*.partial"))
        finished = clips_in(out)
        assert {name: data for name, data in clips_in(whole).items() if name in finished}.items() >= {
            name: data for name, data in finished.items() if ".partial" not in name
        }.items()
        seen = len(list(out.glob("seed_*/GOT*")))
        assert 0 < seen < 2 * CLIPS
        assert not (out / "report").exists()
    run_evaluation(config(data, out, *SHARED))
    assert clips_in(out) == clips_in(whole)
    assert numbers(out) == numbers(whole)


def test_published_command_under_accelerate_with_published_weights(data, pipe, tmp_path):
    weights = write_published(tmp_path / "weights", pipe)
    base = write_diffusers_base(tmp_path / "base", pipe)
    flags = ["--config", "./configs/object_tracking_eval.yaml", "--video_length", "8", "--batch_size", "1"]
    flags += ["--train_grounding", "vanilla_cross_vision", "--trained_ckpt_path", str(weights), "--cross_vision"]
    flags += ["--cat_init", f"pretrained_model_path={base}", "--max_clips", "1", "--tracker", "none"]
    launcher = ("-m", "accelerate.commands.launch", "--cpu")
    done = run(data, tmp_path / "out", *flags, launcher=launcher)
    assert done.returncode == 0, done.stderr
    assert "untrained" not in done.stderr
    clip = tmp_path / "out" / "GOT-10k_Val_000001"
    assert len(list((clip / "pred_img").iterdir())) == 8
    assert (clip / "box_7.txt").read_text().count("\n") == 1
    assert read_report(tmp_path / "out" / "report")["generator"]["weights"] == str(weights)


def test_bad_input_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys):
    write_got10k(tmp_path, range(2), 5, 4, 48, make_world([]), "val")
    frame = tmp_path / "got10k" / "val" / "GOT-10k_Val_000002" / "00000002.jpg"
    frame.write_bytes(frame.read_bytes()[:200])
    for arguments, message in (
        (["--video_length", "3"], f"{frame}: cannot be read as an image"),
        (["--video_length", "6"], "no video is left: GOT-10k_Val_000001: 4 frames, 6 are needed"),
        (["--video_length", "3", "batch=2"], "unknown option batch; did you mean"),
    ):
        monkeypatch.setattr(sys, "argv", command(tmp_path, tmp_path / "out", *arguments)[1:])
        with pytest.raises(SystemExit) as stopped:
            runpy.run_path("inference_eval.py", run_name="__main__")
        assert stopped.value.code == 2
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith("error: ")
        assert message in last
        assert not (tmp_path / "out").exists()


PUBLISHED = """
pretrained_model_path: ./sd
root_path: ./modelscope
output_dir: ./outputs
eval_data:
  name: object_tracking
  path: ./DATA
  datasets: [got10k]
  n_sample_frames: 8
  width: 256
  height: 256
  split: val
  num_max_obj: 8
validation_data: {video_length: 8, width: 256, height: 256, num_inference_steps: 50, guidance_scale: 7.5,
  use_inv_latent: false, num_inv_steps: 50}
val_batch_size: 1
seed: 33
mixed_precision: fp16
enable_xformers_memory_efficient_attention: true
tracker: {project: p, entity: e, group: g}
"""


def test_every_key_and_flag_of_the_published_files(tmp_path, caplog):
    (tmp_path / "eval.yaml").write_text(PUBLISHED)

    def load_with(*arguments: str) -> EvaluationConfig:
        return load(EvaluationConfig, ["--config", str(tmp_path / "eval.yaml"), *arguments])

    flags = ["--dataset", "youvis", "--guidance_scale", "9", "--img_free_guidance", "1.5", "--ti_free_guidance", "2"]
    flags += ["--num_workers", "2", "--video_length", "16", "--seeds", "33,34,35", "--max_clips", "7", "--no-report"]
    loaded = load_with(*flags)
    assert (loaded.dataset, loaded.seeds, loaded.max_clips, loaded.report) == ("youvis", [33, 34, 35], 7, False)
    assert (loaded.img_free_guidance, loaded.ti_free_guidance, loaded.num_workers) == (1.5, 2.0, 2)
    assert (loaded.validation_data.guidance_scale, loaded.validation_data.video_length) == (9.0, 16)
    assert (loaded.eval_data.path, loaded.eval_data.num_max_obj, loaded.tracker) == ("./DATA", 8, "csrt")
    ignored = {record.getMessage().split(": ")[1].split()[0] for record in caplog.records}
    unused = {"eval_data.split", "val_batch_size", "tracker"}
    assert ignored == unused | {"validation_data.use_inv_latent", "validation_data.num_inv_steps"}
    with pytest.raises(InputError, match=r"eval_data.n_sample_frames is 8, but video_length is 16"):
        run_evaluation(load_with("--trained_ckpt_path", "w", "--video_length", "16"))


def test_help_is_complete():
    shown = subprocess.run([sys.executable, "inference_eval.py", "--help"], capture_output=True, text=True).stdout
    for flag in ("--dataset", "--seeds", "--max_clips", "--no-report", "--video_length", "--fvd_weights", "--cat_init"):
        assert flag in shown
