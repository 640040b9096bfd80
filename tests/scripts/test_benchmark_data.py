"""Scaled decoding and cached latents are as much faster as the docs say."""

import pytest

from scripts.benchmark_data import Options, measure, run, write_full_hd


@pytest.mark.slow
def test_speeds(tmp_path):
    write_full_hd(tmp_path, clips=4)
    found = measure(tmp_path, tmp_path / "latents", clips=4)
    assert found["raw"] > 2 * found["plain"]
    assert found["cached"] > 20 * found["raw"]
    assert 0 < found["difference"] < 2


@pytest.mark.slow
def test_the_command(capsys):
    run(Options(clips=1, repeats=1))
    assert [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()] == [
        "plain decoding",
        "raw frames",
        "cached latents",
    ]
