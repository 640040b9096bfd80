"""`smcd score` and `smcd compare`, as users run them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from smcd.cli import main
from smcd.evaluation.metrics.report import read_report
from tests.evaluation.metrics.layout import noisy, sprite_clips, write_predictions, write_truth

REPOSITORY = Path(__file__).parents[2]
QUICK = ["--clip", "none", "--dino", "none"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root, clips = tmp_path_factory.mktemp("world"), sprite_clips(2, size=32, frames=5)
    write_truth(root / "truth", clips)
    for name, strength in (("good", 4), ("bad", 90)):
        write_predictions(root / name, {sequence: noisy(clip.frames, strength) for sequence, clip in clips.items()})
    return root


def call(monkeypatch, *arguments: object) -> int:
    """The command in this process: its exit code."""
    monkeypatch.setattr(sys, "argv", ["smcd", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code


def test_two_reports_and_their_comparison(folder):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}

    def run(*arguments: object) -> str:
        command = [sys.executable, "-m", "smcd.cli", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    truth = folder / "truth"
    printed = run(
        "score", "--pred", folder / "good", "--truth", truth / "manifest.json", "--out", folder / "r_good", *QUICK
    )
    assert printed.startswith("good: 2 of 2 clips of sprites\n  AO  ")
    run("score", "--pred", folder / "bad", "--truth", truth, "--out", folder / "r_bad", "--name", "Noise", *QUICK)
    written = sorted(path.name for path in (folder / "r_bad").iterdir())
    assert written == ["clips", "clips.csv", "index.html", "report.json"]
    good, bad = read_report(folder / "r_good")["summary"], read_report(folder / "r_bad")["summary"]
    assert good["psnr"]["mean"] > bad["psnr"]["mean"] + 10
    printed = run("compare", folder / "r_good", folder / "r_bad", "--out", folder / "both")
    assert "Noise" in printed.splitlines()[0]
    assert "too few clips" in printed
    assert (folder / "both" / "index.html").read_text().count("data:video/mp4") == 2


def test_bad_input_is_one_line_and_exit_code_2(folder, tmp_path, monkeypatch, capsys):
    given = ["score", "--pred", folder / "good", "--truth", folder / "truth", *QUICK]
    (tmp_path / "i3d.pt").write_text("no")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "report.json").write_text("mine")
    (tmp_path / "few").mkdir()
    (tmp_path / "few" / "sprite_000").symlink_to(folder / "good" / "sprite_000")
    for arguments, message in (
        ([*given, "--fvd_weights", tmp_path / "i3d.pt"], "is not a TorchScript file"),
        ([*given[:3], "--truth", tmp_path / "none", *QUICK], f"{tmp_path / 'none'}: "),
        (["score", "--pred", tmp_path / "none", *given[3:]], "there is no such folder"),
        (["score", "--pred", tmp_path / "few", *given[3:]], "1 of 2 clips are missing: sprite_001"),
        (["score", "--pred", folder / "good"], "--truth"),
        (["compare", folder / "good", folder / "bad"], f"{folder / 'good' / 'report.json'}: "),
    ):
        assert call(monkeypatch, *arguments, "--out", tmp_path / "out") == 2
        error = capsys.readouterr().err.splitlines()
        assert error[-1].startswith("error: ")
        assert message in error[-1]
        assert not (tmp_path / "out").exists()
    assert call(monkeypatch, *given, "--out", tmp_path / "full") == 2
    assert "exists already" in capsys.readouterr().err
    assert (tmp_path / "full" / "report.json").read_text() == "mine"
