"""ms_main.py and `smcd export`, as users run them."""

import json
import os
import re
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.state import AcceleratorState

from smcd.training import checkpoint

REPOSITORY = Path(__file__).parents[2]
SMALL = ["train_data.width=32", "train_data.height=32", "train_data.sprites_clips=9", "--num_workers", "0"]
STAGE_1 = ["--config", "./configs/object_tracking_ms_stage1.yaml", "--gradient_accumulation_steps", "1"]
STAGE_1 += ["--train_grounding", "vanilla", "--use_image_dataset"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}


@pytest.fixture
def run(monkeypatch):
    """Runs a command in this process, which has torch loaded already; returns its exit code."""

    def command(script: str, *arguments: str) -> int:
        AcceleratorState._reset_state(True)
        monkeypatch.chdir(REPOSITORY)
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        handler = signal.getsignal(signal.SIGTERM)
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as end:
            return end.code
        finally:
            signal.signal(signal.SIGTERM, handler)
            AcceleratorState._reset_state(True)
        return 0

    return command


def readme_commands(out: Path) -> str:
    """The commands of the README's section on training, with `outputs/try` in another place."""
    section = (REPOSITORY / "README.md").read_text().split("## Training")[1].split("\n## ")[0]
    commands = "\n".join(re.findall(r"^    (.*)$", section, re.M))
    assert commands.count("python ") == 3
    return commands.replace("outputs/try/", f"{out}/")


def test_both_stages_and_a_video_as_the_readme_says(tmp_path):
    environment = {**ENVIRONMENT, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    script = ["bash", "-e", "-c", readme_commands(tmp_path)]
    done = subprocess.run(script, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "coffee" / "cus_pred.gif").is_file()
    assert [path.name for path in checkpoint.all_in(tmp_path / "stage2")] == ["checkpoint-5"]
    config = json.loads((tmp_path / "stage2" / "pipeline" / "unet" / "config.json").read_text())
    assert config["image_gate"] is config["image_concat"] is True


def test_a_dry_run_says_what_would_train_and_writes_nothing(tmp_path, run, capsys):
    out = ["--output_dir", str(tmp_path / "out")]
    assert run("ms_main.py", *STAGE_1, "--train_batch_size", "64", *out, "--dry-run") == 0
    printed = capsys.readouterr().out
    assert re.search(r"trains together +\d+ tensors +\d\.\d\d M", printed)
    assert "drops, for each sample: text 0.5, boxes 0.1" in printed
    assert re.search(r"\d+\.\d{3}  activations at their peak", printed)
    assert "200000 steps of 64 clips" in printed
    assert not (tmp_path / "out").exists()


def test_sigterm_ends_the_command_with_a_checkpoint_and_its_exit_code(tmp_path, run):
    command = [sys.executable, "ms_main.py", *STAGE_1, *SMALL, "--train_batch_size", "2", "--logging_steps", "1"]
    command += ["--output_dir", str(tmp_path / "out"), "--num_workers", "1"]
    process = subprocess.Popen(command, cwd=REPOSITORY, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    metrics = tmp_path / "out" / "metrics.jsonl"
    while not metrics.is_file() or not metrics.read_text().count("\n"):
        assert process.poll() is None, process.stderr.read()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "Traceback" not in errors
    assert "the same command goes on from there" in errors
    assert len(checkpoint.all_in(tmp_path / "out")) == 1

    out = tmp_path / "published"
    assert run("smcd/cli.py", "export", str(tmp_path / "out"), str(out), "--published") == 0
    assert {path.name for path in out.iterdir()} == {"pytorch_model.bin", "pytorch_model_1.bin"}
    assert run("smcd/cli.py", "export", str(tmp_path / "out"), str(out), "--published", "--dtype", "float16") == 2


def test_bad_input_is_one_line_and_exit_code_2(tmp_path, run, capsys):
    assert run("ms_main.py", "--output_dir", str(tmp_path / "out"), "learning_rat=1") == 2
    assert capsys.readouterr().err == "error: unknown option learning_rat; did you mean learning_rate?\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "kind", "processes"),
    [("ddp", "MULTI_GPU", 8), ("fsdp", "FSDP", 8), ("deepspeed_zero2", "DEEPSPEED", 8), ("two_nodes", "MULTI_GPU", 16)],
)
def test_accelerate_takes_the_shipped_configs(name, kind, processes):
    config = load_config_from_file(str(REPOSITORY / "configs" / "accelerate" / f"{name}.yaml"))
    assert (config.distributed_type, config.num_processes) == (kind, processes)
