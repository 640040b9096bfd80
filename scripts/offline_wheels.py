#!/usr/bin/env python
"""Make a folder of the wheels that smcd needs on a machine without a network that has torch but not all the rest.

Take it there, and install it beside what is there: pip install --no-index --no-deps --target SITE FOLDER/*.whl
"""

import subprocess
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from smcd.config import configured
from smcd.config.options import option
from smcd.runtime.errors import InputError
from smcd.runtime.files import check_new

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


@dataclass
class Options:
    out: str = option("outputs/wheels", "folder for the wheels; must not exist", filled=True)
    python: str = option("3.12", "version of Python there")
    has: list[str] = option(
        ["torch", "transformers", "accelerate", "einops", "imageio"], "packages that are there, with all that they need"
    )
    without: list[str] = option(
        ["imageio-ffmpeg", "pycocotools", "decord"], "packages to leave out; these are for video files and masks"
    )
    most: int = option(64, "MiB that the folder may have", low=1)


def needed(names: Iterable[str], python: str, without: set[str]) -> set[str]:
    """Packages and all that they need on that Python, as this environment knows it; `without` some and their needs.

    Raises an InputError for a package that is not installed here.
    """
    found: set[str] = set()
    waiting = [canonicalize_name(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name in found or name in without:
            continue
        found.add(name)
        try:
            described = [Requirement(line) for line in requires(name) or ()]
        except PackageNotFoundError:
            raise InputError(f"{name} is not installed here: pip install -c constraints.txt -e .") from None
        there = {"python_version": python, "extra": ""}
        waiting += [canonicalize_name(r.name) for r in described if r.marker is None or r.marker.evaluate(there)]
    return found


def make_wheels(options: Options) -> list[Path]:
    """Download the wheels, in the versions of this environment.

    Raises:
        InputError: a package that is not installed here, or has no wheel; a folder that is there already, or too large.
    """
    out = Path(options.out)
    check_new(out)
    own = [Requirement(line) for line in tomllib.loads(PROJECT.read_text())["project"]["dependencies"]]
    left_out = needed(options.has, options.python, set()) | {canonicalize_name(name) for name in options.without}
    lacking = needed((requirement.name for requirement in own), options.python, left_out)
    pins = [f"{name}=={version(name)}" for name in sorted(lacking)]
    command = ["pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--python-version", options.python]
    if subprocess.run([sys.executable, "-m", *command, "--dest", str(out), *pins]).returncode:
        raise InputError("pip could not download a wheel; its message above says which")
    wheels = sorted(out.iterdir())
    size = sum(wheel.stat().st_size for wheel in wheels) / 2**20
    if size > options.most:
        raise InputError(f"{out}: the wheels have {size:.0f} MiB; name more packages that are there, --has")
    print(f"{size:.1f} MiB in {len(wheels)} wheels: {', '.join(pins)}")
    return wheels


if __name__ == "__main__":
    with configured(Options, __doc__) as options:
        make_wheels(options)
