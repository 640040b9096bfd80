"""Boxes from a video, in the page."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("playwright")
from playwright.sync_api import expect

from smcd.runtime.media import write_video
from tests.editor.page.editor_page import EditorPage


def test_a_box_drawn_in_a_video_becomes_key_frames(editor: EditorPage, tmp_path: Path) -> None:
    frames = np.full((12, 120, 160, 3), 90, np.uint8)
    noise = np.random.default_rng(0).integers(0, 255, (30, 40, 3))
    for frame, image in enumerate(frames):
        image[40:70, 20 + 6 * frame : 60 + 6 * frame] = noise
    write_video(tmp_path / "car.mp4", frames, 12)
    page = editor.page
    page.click("#open")
    editor.open_file("#open-menu [data-pick=video]", tmp_path / "car.mp4")
    canvas = page.locator("#video-canvas canvas")
    expect(page.locator("#video-dialog")).to_be_visible()
    expect(canvas).to_be_visible()
    edge = canvas.bounding_box()
    scale = edge["width"] / 160
    page.mouse.move(edge["x"] + 20 * scale, edge["y"] + 40 * scale)
    page.mouse.down()
    page.mouse.move(edge["x"] + 60 * scale, edge["y"] + 70 * scale, steps=3)
    page.mouse.up()
    page.locator("#video-boxes input").fill("red car")
    page.click("#video-form button[type=submit]")
    expect(page.locator("#video-dialog")).to_be_hidden(timeout=120_000)
    expect(page.locator("#objects li")).to_have_count(1)
    project = editor.project()
    assert (project["image"]["width"], project["image"]["height"]) == (160, 120)
    (car,) = project["objects"]
    assert car["phrase"] == "red car"
    assert np.abs(np.subtract(car["boxes"]["0"], [20, 40, 60, 70])).max() < 2  # drawn where the mouse was
    assert abs(car["boxes"]["7"][0] - 86) < 8
