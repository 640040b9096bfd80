"""The page's modules compute what the command computes."""

import random
from statistics import median
from typing import Any

from smcd.data.key_frames import EASINGS, interpolate
from tests.editor.page.editor_page import EditorPage, script

FRAMES = 40


def random_object(seed: int) -> dict[str, Any]:
    draw = random.Random(seed)
    frames = sorted(draw.sample(range(FRAMES), draw.randint(1, 8)))
    boxes = {str(k): None if draw.random() < 0.2 else [draw.uniform(0, 500) for _ in range(4)] for k in frames}
    easing = {str(k): draw.choice(list(EASINGS)) for k in frames if draw.random() < 0.7}
    return {"phrase": "any", "boxes": boxes, "easing": easing}


def test_boxes_between_key_frames_are_those_of_the_command_bit_by_bit(editor: EditorPage) -> None:
    objects = [random_object(seed) for seed in range(200)]
    shown = editor.page.evaluate(
        """async ([objects, frames]) => {
          const { interpolate } = await import("/static/key_frames.js");
          return objects.map((object) => interpolate(object, frames));
        }""",
        [objects, FRAMES],
    )
    for object_, boxes in zip(objects, shown, strict=True):
        keys = {int(k): box and tuple(box) for k, box in object_["boxes"].items()}
        easing = {int(k): name for k, name in object_["easing"].items()}
        assert [box and tuple(box) for box in boxes] == interpolate(keys, FRAMES, easing)


def test_a_recorded_path_stays_within_the_tolerance_of_the_hand(editor: EditorPage) -> None:
    off, keys = editor.page.evaluate(script("recorded_path"))
    assert off < 2.2
    assert (keys[0], keys[-1]) == (3, 66)
    assert len(keys) < 24  # of 64


def test_fewer_frames_keep_what_the_last_one_shows(editor: EditorPage) -> None:
    cut = editor.page.evaluate(
        """async (boxes) => {
          const { cutTo } = await import("/static/key_frames.js");
          return cutTo({ boxes, easing: { 6: "in" } }, 9).boxes;
        }""",
        {"0": [0, 0, 10, 10], "4": None, "6": [0, 0, 10, 10], "10": [40, 0, 50, 10]},
    )
    assert cut == {"0": [0, 0, 10, 10], "4": None, "6": [0, 0, 10, 10], "8": [10, 0, 20, 10]}


def test_a_moved_box_is_redrawn_within_a_displayed_frame(editor: EditorPage) -> None:
    """The time from a mouse move to the end of drawing, with 8 objects and 64 frames."""
    editor.reset(num_frames=64)
    boxes = {str(k): [10 + 3 * k, 20 + k, 60 + 3 * k, 70 + k] for k in range(0, 64, 8)}
    objects = [{"phrase": f"object {i}", "boxes": boxes, "easing": {"0": "in-out"}} for i in range(8)]
    project = editor.project()
    body = {"revision": project["revision"], "objects": objects, "settings": project["settings"]}
    assert editor.page.request.put(f"{editor.url}api/project", data=body).ok
    editor.page.locator(".row").nth(7).wait_for()
    editor.page.evaluate(script("time_redraws"))
    editor.drag([(30, 40), (150, 120), (60, 60), (200, 100)], steps=20)
    times = editor.page.evaluate("times")
    print(f"mouse move to redrawn box, 8 objects, 64 frames: median {median(times):.1f} ms, worst {max(times):.1f} ms")
    assert len(times) > 40
    assert min(median(times[start : start + 10]) for start in range(0, 40, 10)) < 16  # while the machine is not busy
