"""Bad input, two tabs, a lost server, and what everybody can read and reach."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright")
from playwright.sync_api import expect

from tests.editor.page.conftest import Served
from tests.editor.page.editor_page import EditorPage, script

_SIZES = (1280, 720), (1920, 1080), (1024, 768), (820, 1180), (390, 844)  # the last three: tablets and a phone
_CONTROLS = "button, a[href], input:not([type=file]), select, textarea, [role=slider], [role=application]"


@pytest.mark.parametrize(
    ("name", "content"),
    [("holiday.png", b"this is no image"), ("objects.json", b'[{"phrase": 3}]'), ("project.zip", b"PK broken")],
)
def test_a_broken_file_gives_one_line_and_changes_nothing(
    editor: EditorPage, tmp_path: Path, name: str, content: bytes
) -> None:
    editor.draw("dog", [20, 20, 60, 60])
    before = editor.objects()
    (tmp_path / name).write_bytes(content)
    editor.page.click("#open")
    editor.open_file(f"#open-menu [data-pick={'image' if name.endswith('png') else 'project'}]", tmp_path / name)
    line = editor.page.locator(".message.error span")
    expect(line).to_have_count(1)
    assert 10 < len(line.inner_text()) < 300
    assert "\n" not in line.inner_text()
    assert editor.objects() == before


def test_what_lacks_before_a_video_is_said_where_it_lacks(editor: EditorPage) -> None:
    editor.page.click("#animate")
    assert editor.messages() == ["Draw a box over the image first: it says where an object goes."]
    editor.draw("dog", [20, 20, 60, 60])
    editor.page.click("#animate")
    assert editor.messages()[-1] == "Write a prompt first: what happens in the video?"
    assert editor.page.evaluate("document.activeElement.name") == "prompt"
    editor.page.click("#suggest")
    assert editor.project()["settings"]["prompt"] == "A dog that is standing still."


def test_two_tabs_show_the_same_and_lose_nothing(editor: EditorPage, browser: Any) -> None:
    editor.draw("dog", [20, 20, 60, 60])
    editor.objects()
    other = EditorPage(browser.new_page(), editor.url)
    other.open()
    other.draw("cat", [100, 100, 160, 160])
    expect(editor.page.locator("#objects input[type=text]").nth(1)).to_have_value("cat")
    # Both change the project at once: the second to save hears of the first, and can go back to its own.
    editor.page.route(
        "**/api/project", lambda route: route.abort() if route.request.method == "PUT" else route.fallback()
    )
    name = editor.page.locator("#objects input[type=text]").first
    name.fill("wolf")
    other.page.locator("#objects input[type=text]").last.fill("lynx")
    other.objects()
    editor.page.unroute("**/api/project")
    expect(editor.page.locator("#messages")).to_contain_text("Another tab changed this project")
    expect(name).to_have_value("dog")
    editor.page.locator("#messages button", has_text="Undo").click()
    expect(name).to_have_value("wolf")
    assert [item["phrase"] for item in editor.objects()] == ["wolf", "cat"]
    other.close()


def test_what_is_done_while_the_server_is_away_is_saved_when_it_is_back(editor: EditorPage, served: Served) -> None:
    editor.draw("dog", [20, 20, 60, 60])
    editor.objects()
    served.kill()
    editor.page.locator("#objects input[type=text]").fill("wolf")
    expect(editor.page.locator(".message.error")).to_contain_text("does not answer")
    served.start()
    assert [item["phrase"] for item in editor.objects()] == ["wolf"]


def test_a_page_that_is_closed_at_once_has_saved(editor: EditorPage) -> None:
    editor.draw("dog", [20, 20, 60, 60])
    editor.objects()
    editor.page.locator("#objects input[type=text]").fill("wolf")
    editor.page.goto("about:blank")
    editor.open()
    assert [item["phrase"] for item in editor.objects()] == ["wolf"]


def test_every_control_is_named_and_within_reach(editor: EditorPage) -> None:
    editor.draw("dog", [20, 20, 60, 60])
    for width, height in _SIZES:
        editor.page.set_viewport_size({"width": width, "height": height})
        nameless, outside = editor.page.evaluate(script("controls"), _CONTROLS)
        assert (width, height, nameless, outside) == (width, height, [], [])
        assert editor.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        if width >= 1024:  # everything at once, without scrolling
            assert editor.page.evaluate(
                "document.querySelector('#animate').getBoundingClientRect().bottom <= innerHeight"
            )


def test_text_has_the_contrast_that_wcag_asks_for(editor: EditorPage) -> None:
    editor.draw("dog", [20, 20, 60, 60])
    editor.page.click("#help")
    for scheme in ("light", "dark"):
        editor.page.emulate_media(color_scheme=scheme)
        assert editor.page.evaluate(script("contrast")) == []
