"""A real browser with the editor's page, served by the real command."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.editor.page.editor_page import EditorPage

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


class Served:
    """`smcd edit` in a process of its own; the same folder and port when it is started again."""

    def __init__(self, folder: Path):
        self.folder, self.port = folder, "0"
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "smcd.cli", "edit", str(self.folder), "--port", self.port, "--no_browser"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.url = re.search(r"http://\S+", line)[0]  # type: ignore[index]
        self.port = self.url.rstrip("/").rpartition(":")[2]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium: install the package chromium to test the editor's page")
    sync_api = pytest.importorskip("playwright.sync_api")
    sync_api.expect.set_options(timeout=30_000)  # the machine may be busy
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_OPTIONS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def served(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    served = Served(tmp_path_factory.mktemp("editor") / "project")
    yield served
    served.kill()


@pytest.fixture
def editor(browser: Any, served: Served) -> Iterator[EditorPage]:
    """A page at 1280 x 720 with an empty project; a script that fails, or that the policy refuses, fails the test."""
    page = EditorPage(browser.new_page(viewport={"width": 1280, "height": 720}), served.url)
    page.reset()
    yield page
    page.close()
