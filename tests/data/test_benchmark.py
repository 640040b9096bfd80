"""Scaled decoding and cached latents are as much faster as the docs say."""

import pytest

from smcd.data.benchmark import benchmark, write_full_hd


@pytest.mark.slow
def test_speeds(tmp_path):
    write_full_hd(tmp_path, clips=4)
    found = benchmark(tmp_path, tmp_path / "latents", clips=4)
    assert found["raw"] > 2 * found["plain"]
    assert found["cached"] > 20 * found["raw"]
    assert 0 < found["difference"] < 2
