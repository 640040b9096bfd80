"""Which wheels a machine without a network lacks."""

import subprocess
from pathlib import Path

import offline_wheels
import pytest
from offline_wheels import Options, make_wheels, needed

from smcd.runtime.errors import InputError


def test_needs_are_followed_for_the_other_python():
    found = needed(["diffusers", "tyro"], "3.12", {"numpy"})
    assert {"diffusers", "importlib-metadata", "zipp", "tyro", "docstring-parser", "typeguard"} <= found
    assert not {"numpy", "eval-type-backport"} & found
    with pytest.raises(InputError, match="eval-type-backport is not installed here"):
        needed(["tyro"], "3.9", set())  # which needs it there


@pytest.mark.parametrize(("size", "code"), [(1, 0), (2**21, 0), (1, 1)])
def test_what_is_downloaded(tmp_path, monkeypatch, size, code):
    def download(command, **_):
        folder = Path(command[command.index("--dest") + 1])
        folder.mkdir()
        for pin in command[command.index("--dest") + 2 :]:
            (folder / f"{pin.partition('==')[0]}.whl").write_bytes(b" " * size)
        return subprocess.CompletedProcess(command, code)

    monkeypatch.setattr(offline_wheels.subprocess, "run", download)
    options = Options(out=str(tmp_path / "wheels"), most=3)
    if code or size > 1:
        with pytest.raises(InputError, match="pip could not" if code else "MiB; name more packages"):
            make_wheels(options)
        return
    names = {wheel.stem for wheel in make_wheels(options)}
    assert {"diffusers", "omegaconf", "tyro"} <= names
    assert not {"torch", "transformers", "numpy", "decord", "smcd"} & names
    with pytest.raises(InputError, match="exists already"):
        make_wheels(options)
