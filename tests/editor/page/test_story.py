"""The editor's first minutes, as a user has them: from an image to videos that are compared, saved and opened again.

With PICTURES=FOLDER in the environment, it writes a picture of every scene, and `editor.gif`, the README's film.
STEPS=50 makes better videos for it.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

pytest.importorskip("playwright")
from playwright.sync_api import expect

from smcd.sprites.world import WORLDS, make_clip
from tests.editor.page.conftest import Served
from tests.editor.page.editor_page import EditorPage
from tests.editor.page.film import Film

SIDE, FRAMES = 512, 8
STEPS = os.environ.get("STEPS", "3")


@pytest.fixture
def served(browser: Any, tmp_path: Path) -> Iterator[Served]:
    """An editor of the story's own, which begins without a project."""
    served = Served(tmp_path / "project")
    yield served
    served.kill()


@pytest.fixture
def film(browser: Any, served: Served) -> Iterator[Film]:
    editor = EditorPage(browser.new_page(viewport={"width": 1280, "height": 720}), served.url)
    film = Film(editor)
    yield film
    editor.close()
    if folder := os.environ.get("PICTURES"):
        film.write(Path(folder))


def test_from_an_image_to_videos_that_open_again(film: Film, served: Served, tmp_path: Path) -> None:
    editor, page = film.editor, film.editor.page
    clip = make_clip(5, 50, FRAMES, SIDE, WORLDS["built-in"])
    PIL.Image.fromarray(clip.frames[0]).save(tmp_path / "shapes.png")

    # An image, two boxes with three key frames each.
    film.wait(0.8)
    film.scene("start")
    editor.open_file("#start [data-pick=image]", tmp_path / "shapes.png")
    editor.size = (SIDE, SIDE)
    editor.until("#undo:enabled")
    film.wait(0.5)
    paths = np.round(clip.boxes * SIDE).swapaxes(0, 1).tolist()  # N F 4
    names = [sprite.phrase for sprite in clip.sprites[:2]]
    for name, path in zip(names, paths[:2], strict=True):
        editor.draw(name, path[0])
    film.scene("boxes")
    for index, path in enumerate(paths[:2]):
        page.locator("#objects li").nth(index).click(position={"x": 3, "y": 3})
        for before, frame in ((0, 4), (4, FRAMES - 1)):
            editor.go(frame)
            editor.drag([middle(path[before]), middle(path[frame])])
    assert [len(editor.boxes(index)) for index in range(2)] == [3, 3]
    film.scene("key-frames")

    # A third object goes along a path that is drawn by hand.
    editor.go(0)
    page.keyboard.press("Escape")
    page.keyboard.press("b")
    editor.draw("green ring", [30, 40, 110, 120])
    page.keyboard.down("r")
    editor.drag([(70, 80), (150, 200), (80, 320), (140, 440)], steps=6)
    page.keyboard.up("r")
    assert len(editor.boxes(2)) >= 3
    film.scene("path")
    editor.click("#play")
    film.wait(1.2)
    editor.until("#play[aria-label=Pause]")
    editor.click("#play")
    editor.click("#objects li:last-child [aria-label^=Delete]")
    editor.go(0)

    # A video, watched beside the boxes.
    page.fill("[name=num_inference_steps]", STEPS)
    page.fill("[name=prompt]", clip.caption)
    film.wait(0.5)
    editor.click("#animate")
    film.wait_for(".job.done")
    film.wait(2)
    editor.click("#result-boxes")
    editor.click("#result-strip")
    film.wait(1)
    expect(page.locator(".film img")).to_have_count(FRAMES)
    film.scene("result")
    editor.click("#result-boxes")
    editor.click("#result-strip")
    film.cut()

    # One that is cancelled.
    page.fill("[name=num_inference_steps]", "400")
    editor.click("#animate")
    page.locator(".cell .progress", has_text="of 400").wait_for()
    film.scene("progress")
    page.locator(".cell [aria-label^=Cancel]").focus()
    page.locator(".cell .progress", has_text=re.compile("([3-9]|[1-9][0-9]+) of 400")).wait_for()
    page.keyboard.press("Enter")  # the button is still the same one after two more steps
    expect(page.locator(".cell .note")).to_have_text("Cancelled")

    # Two seeds side by side.
    page.fill("[name=num_inference_steps]", STEPS)
    page.select_option("#num-videos", "2")
    editor.click("#animate")
    expect(page.locator(".job.done")).to_have_count(3, timeout=120_000)
    expect(page.locator(".cell canvas[data-shows^=frame]")).to_have_count(2)
    film.scene("two-seeds")
    editor.click(".cell:last-child [aria-label^=Use]")
    expect(page.locator("[name=seed]")).to_have_value("34")

    # Saved, and opened again: everything is equal. The same after the server was killed.
    before = everything(editor)
    with page.expect_download() as download:
        page.click("#save")
    download.value.save_as(tmp_path / "project.zip")
    page.click("#open")
    page.locator("#open-menu .examples button").first.click()
    expect(page.locator("#objects input[type=text]").first).not_to_have_value(names[0])
    page.click("#open")
    editor.open_file("#open-menu [data-pick=project]", tmp_path / "project.zip")
    expect(page.locator("#objects input[type=text]").first).to_have_value(names[0])
    assert everything(editor) == before
    served.kill()
    served.start()
    editor.open()
    assert everything(editor) == before
    assert page.locator(".job").count() == 4


def middle(box: Any) -> tuple[float, float]:
    return float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2


def everything(editor: EditorPage) -> dict[str, Any]:
    """What makes a project: image, boxes and settings."""
    project = editor.project()
    image = editor.page.request.get(f"{editor.url}api/image").body()
    return {"image": image, "objects": project["objects"], "settings": project["settings"]}
