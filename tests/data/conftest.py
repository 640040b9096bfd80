"""Small sprites datasets in the layouts of the real ones."""

import shutil
from pathlib import Path

import pytest

from smcd.sprites.layouts import make_world, write_gligen, write_got10k, write_youtube_vis

SIZE, FRAMES, CLIPS, SEED = 48, 12, 6, 3
WORLD = make_world(["motions=[line,visit,arc]"])


@pytest.fixture(scope="session")
def shared_data(tmp_path_factory) -> Path:
    """got10k, youvis and GLIGEN; do not change it."""
    path = tmp_path_factory.mktemp("data")
    write_got10k(path, range(CLIPS), SEED, FRAMES, SIZE, WORLD)
    write_youtube_vis(path, range(CLIPS), SEED, FRAMES, SIZE, WORLD)
    write_gligen(path, range(CLIPS), SEED, SIZE, WORLD)
    return path


@pytest.fixture
def data(shared_data, tmp_path) -> Path:
    """A copy of the test's own."""
    return Path(shutil.copytree(shared_data, tmp_path / "data"))
