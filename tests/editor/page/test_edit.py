"""Drawing and moving boxes with mouse, keys and fingers: what the project holds afterwards."""

import pytest

pytest.importorskip("playwright")
from playwright.sync_api import expect

from tests.editor.page.editor_page import EditorPage, picture, script


def close(box: list[float] | None, expected: list[float], by: float = 2) -> bool:
    return box is not None and all(abs(a - b) <= by for a, b in zip(box, expected, strict=True))


def test_a_box_that_is_moved_in_another_frame_makes_a_key_frame(editor: EditorPage) -> None:
    editor.draw("red car", [40, 60, 120, 120])
    editor.go(6)
    editor.drag([(80, 90), (200, 110)])
    assert editor.objects()[0]["phrase"] == "red car"
    boxes = editor.boxes()
    assert boxes.keys() == {0, 6}
    assert close(boxes[0], [40, 60, 120, 120])
    assert close(boxes[6], [160, 80, 240, 140])


def test_a_handle_resizes_and_stops_at_the_edge(editor: EditorPage) -> None:
    editor.draw("dog", [40, 60, 120, 120])
    editor.drag([(120, 120), (400, 200)])
    assert close(editor.boxes()[0], [40, 60, 320, 200])


def test_absent_and_back(editor: EditorPage) -> None:
    editor.draw("dog", [40, 60, 120, 120])
    editor.go(3)
    editor.page.keyboard.press("x")
    editor.go(5)
    editor.drag([(200, 100), (280, 180)])  # the selected object is absent: this is its box, not another object's
    boxes = editor.boxes()
    assert len(editor.objects()) == 1
    assert boxes.keys() == {0, 3, 5}
    assert boxes[3] is None
    assert close(boxes[5], [200, 100, 280, 180])


def test_a_path_that_is_recorded_ends_where_the_hand_ends(editor: EditorPage) -> None:
    editor.draw("dog", [20, 20, 60, 60])
    editor.page.keyboard.down("r")
    editor.drag([(40, 40), (140, 40), (240, 140)], steps=8, pause=30)
    editor.page.keyboard.up("r")
    boxes = editor.boxes()
    assert min(boxes) == 0
    assert max(boxes) == 7
    assert 3 <= len(boxes) <= 7  # simplified, but the corner is kept
    assert close(boxes[0], [20, 20, 60, 60])
    assert close(boxes[7], [220, 120, 260, 160])


def test_a_motion_is_pasted_onto_another_object(editor: EditorPage) -> None:
    editor.draw("dog", [20, 20, 60, 60])
    editor.go(4)
    editor.drag([(40, 40), (140, 60)])
    editor.page.click("#copy-motion")
    editor.go(0)
    editor.page.keyboard.press("Escape")
    editor.draw("cat", [100, 120, 180, 200])
    editor.go(2)
    editor.page.click("#paste-motion")
    boxes = editor.boxes(1)
    assert close(boxes[2], [100, 120, 180, 200])
    assert close(boxes[6], [200, 140, 280, 220])


def test_easing_belongs_to_the_segment_at_the_playhead(editor: EditorPage) -> None:
    editor.draw("dog", [20, 20, 60, 60])
    editor.go(4)
    editor.drag([(40, 40), (140, 60)])
    editor.go(2)
    editor.page.select_option("#easing", "in-out")
    assert editor.objects()[0]["easing"] == {"0": "in-out"}


def test_undo_goes_back_to_the_beginning_and_redo_to_the_end(editor: EditorPage) -> None:
    steps = [editor.project()]
    editor.draw("dog", [20, 20, 60, 60])
    editor.go(4)
    editor.drag([(40, 40), (140, 60)])
    editor.page.keyboard.press("x")
    editor.page.fill("[name=num_frames]", "3")
    editor.page.keyboard.press("Tab")
    steps.append(editor.project())
    while editor.page.locator("#undo").is_enabled():
        editor.page.click("#undo")
    assert editor.objects() == steps[0]["objects"]
    while editor.page.locator("#redo").is_enabled():
        editor.page.click("#redo")
    last = editor.project()
    assert last["objects"] == steps[1]["objects"]
    assert last["settings"] == steps[1]["settings"]


def test_undoing_an_image_brings_the_former_one_back(editor: EditorPage) -> None:
    editor.draw("dog", [20, 20, 60, 60])
    before = editor.page.request.get(f"{editor.url}api/image").body()
    objects = editor.objects()
    editor.page.click("#open")
    editor.page.click("#open-menu .examples button")
    expect(editor.page.locator("#objects input[type=text]").first).not_to_have_value("dog")
    assert editor.page.request.get(f"{editor.url}api/image").body() != before
    editor.page.click("#undo")
    expect(editor.page.locator("#objects input[type=text]").first).to_have_value("dog")
    assert editor.objects() == objects
    assert editor.page.request.get(f"{editor.url}api/image").body() == before


def test_everything_works_with_the_keyboard_alone(editor: EditorPage) -> None:
    press = editor.page.keyboard.press
    editor.page.locator("#canvas").focus()
    press("a")
    editor.page.locator("#objects input[type=text]:focus").wait_for()
    editor.page.keyboard.type("blue star")
    press("Enter")
    for _ in range(7):
        press(".")
    for _ in range(3):
        press("Shift+ArrowRight")
    press("Alt+ArrowDown")
    editor.page.locator("[name=prompt]").focus()
    editor.page.keyboard.type("A blue star that is moving right.")
    project = editor.project()
    (star,) = project["objects"]
    assert star["phrase"] == "blue star"
    first, last = star["boxes"]["0"], star["boxes"]["7"]
    assert last == pytest.approx([first[0] + 30, first[1], first[2] + 30, first[3] + 1], abs=0.11)
    assert project["settings"]["prompt"] == "A blue star that is moving right."


def test_a_key_frame_is_dragged_and_deleted_on_the_time_line(editor: EditorPage) -> None:
    editor.draw("dog", [20, 20, 60, 60])
    editor.go(4)
    editor.drag([(40, 40), (140, 60)])
    columns = [editor.page.locator(".tick").nth(frame).bounding_box() for frame in (4, 6)]
    y = editor.page.locator(".key").nth(1).bounding_box()["y"] + 10
    editor.page.mouse.move(columns[0]["x"] + 4, y)
    editor.page.mouse.down()
    editor.page.mouse.move(columns[1]["x"] + 4, y, steps=5)
    editor.page.mouse.up()
    assert editor.boxes().keys() == {0, 6}
    editor.page.locator(".key").nth(1).focus()
    editor.page.keyboard.press("Delete")
    assert editor.boxes().keys() == {0}


def test_a_finger_draws_and_moves_a_box(browser, served) -> None:
    context = browser.new_context(viewport={"width": 820, "height": 1180}, has_touch=True, is_mobile=True)
    editor = EditorPage(context.new_page(), served.url)
    editor.reset()
    session = context.new_cdp_session(editor.page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        at = [{"x": x, "y": y} for x, y in map(editor.screen, points)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})

    def drag(*points: tuple[float, float]) -> None:
        touch("touchStart", points[0])
        for point in points[1:]:
            touch("touchMove", point)
        touch("touchEnd")

    drag((40, 60), (100, 100), (120, 120))
    drag((80, 90), (90, 95), (110, 100))
    assert close(editor.boxes()[0], [70, 70, 150, 130])
    editor.close()
    context.close()


def test_playing_shows_the_boxes_at_the_rate_of_the_video(editor: EditorPage) -> None:
    editor.draw("dog", [20, 20, 60, 60])
    shown = editor.page.evaluate(script("played_frames"))
    changes = [(frame, time) for (frame, time), (before, _) in zip(shown[1:], shown, strict=False) if frame != before]
    rate = (len(changes) - 1) / (changes[-1][1] - changes[0][1]) * 1000
    assert 6 < rate < 9  # at 8 frames a second
    assert {frame for frame, _ in changes} == set(range(8))


def test_a_name_is_shown_as_text(editor: EditorPage) -> None:
    name = "<img src=x onerror=alert(1)>"
    editor.draw(name, [20, 20, 60, 60])
    assert editor.objects()[0]["phrase"] == name
    assert editor.page.locator(".rows .name").inner_text() == name
    assert editor.page.locator("#objects img, .rows img").count() == 0


def test_pasting_an_image_opens_it(editor: EditorPage) -> None:
    before = editor.project()["image"]["url"]
    editor.page.evaluate(
        """(bytes) => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(bytes)], "pasted.png", { type: "image/png" }));
          document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
        }""",
        list(picture((200, 10, 10), (300, 200))),
    )
    editor.page.locator("#undo:enabled").wait_for()
    image = editor.project()["image"]
    assert image["url"] != before
    assert (image["width"], image["height"]) == (300, 200)
