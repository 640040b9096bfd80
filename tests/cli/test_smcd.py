"""The command `smcd`: what its sub-commands take, and that help and bad options come before torch."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from smcd.cli import COMMANDS, main
from smcd.config import load

REPOSITORY = Path(__file__).parents[2]
WITHOUT_TORCH = """
import sys, time
from smcd.cli import main
for arguments in {runs!r}:
    sys.argv = ["smcd", *arguments]
    try:
        main()
    except SystemExit as end:
        print("exit code", end.code)
print("heavy", sorted({{"torch", "numpy", "omegaconf", "diffusers"}} & set(sys.modules)), time.process_time())
"""


def without_torch(*runs: list[str]) -> subprocess.CompletedProcess:
    """Run these command lines one after the other, in a process of their own."""
    code = [sys.executable, "-c", WITHOUT_TORCH.format(runs=runs)]
    return subprocess.run(code, cwd=REPOSITORY, capture_output=True, text=True)


@pytest.mark.parametrize(("name", "example"), [(name, line) for name in COMMANDS for line in COMMANDS[name].examples])
def test_every_example_parses(name, example):
    command, *arguments = shlex.split(example)
    assert command == name
    load(COMMANDS[name].schema, arguments)


def test_help_comes_without_torch_and_soon():
    done = without_torch(["--help"], *([name, "--help"] for name in COMMANDS))
    assert done.returncode == 0, done.stderr
    assert "heavy [] " in done.stdout
    assert float(done.stdout.split()[-1]) < 0.5 * len(COMMANDS)  # seconds of a CPU, for all of them together
    overview, *pages = done.stdout.split("usage: ")[1:]
    for name, page in zip(COMMANDS, pages, strict=True):
        assert f"  {name} " in overview
        assert page.startswith(f"smcd {name} ")
        assert page.count(f"\n  smcd {name} ") == 3
    assert "--train_data.width INT" in pages[list(COMMANDS).index("train")]


def test_what_people_need_first_stands_at_the_top():
    [page] = without_torch(["animate", "--help"]).stdout.split("usage: ")[1:]
    flags = re.findall(r"│ (--\w+)", page)
    assert flags[:3] == ["--input_data_path", "--prompt", "--object"]


def test_what_is_wrong_is_said_before_torch_is_there():
    runs = {
        ("animate", "--prompt", "A dog.", "--input_data_path", "/nowhere"): "/nowhere: there is no such folder",
        ("animate", "--prompt", "A dog.", "--fps", "0"): "fps is 0.0; it must be from 0.1 to 50",
        ("train", "--train_data.path", "/nowhere"): "/nowhere: no such folder",
        ("train", "--max-train-stepz", "3"): "unknown option max_train_stepz; did you mean max_train_steps?",
        ("evaluate", "--dataset", "got10k", "--eval_data.path", "/nowhere"): "/nowhere: no such folder",
        ("score", "--pred", "/nowhere", "--truth", "x", "--out", "y"): "/nowhere: there is no such folder",
        ("compare", "--out", "x"): "no reports",
        ("compare", "a", "b"): "--out is missing",
        ("convert", "a"): "out is missing",
        ("prepare", "got10k"): "--data is missing",
        ("prepare", "got10k", "--data", "/nowhere"): "/nowhere: there is no such folder",
        ("prepare", "davis"): "dataset is 'davis'; choose from got10k",
        ("show", "--path", "/nowhere"): "/nowhere: no such folder",
        ("export", "/nowhere", "out"): "/nowhere: there is no such folder",
        ("make-sprites", "--out", "x", "--layout", "got10k", "--size", "3"): "size is 3; it must be at least 16",
        ("trian",): "unknown command trian; did you mean train?",
    }
    done = without_torch(*map(list, runs))
    assert done.stdout.count("exit code 2") == len(runs)
    assert "torch" not in done.stdout
    lines = done.stderr.splitlines()
    for line, message in zip(lines, runs.values(), strict=True):
        assert line.startswith(f"error: {message}")


@pytest.mark.parametrize("arguments", ["--help", "train --help"])
def test_help_into_a_closed_pipe_is_silent(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "smcd.cli", *arguments.split()]
    done = subprocess.run(command, cwd=REPOSITORY, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert done.stderr == ""


def test_without_a_command_it_lists_them(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["smcd"])
    main()
    assert all(f"  {name} " in capsys.readouterr().out for name in ["animate"])


@pytest.mark.parametrize("file", ["ms_main.py", "inference_eval.py", "inference_customize.py"])
def test_the_published_entry_points_have_the_same_options(file):
    shown = subprocess.run([sys.executable, file, "--help"], cwd=REPOSITORY, capture_output=True, text=True).stdout
    assert shown.startswith(f"usage: {file} ")
    assert "--validation_data.width INT" in shown
