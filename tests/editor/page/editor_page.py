"""The editor's page as a user has it: frames and points of the image, not pixels of the screen."""

import io
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

Point = tuple[float, float]
SIZE = 320, 240  # of the image that tests open


def picture(color: tuple[int, int, int] = (70, 80, 90), size: tuple[int, int] = SIZE) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(np.full((size[1], size[0], 3), color, np.uint8)).save(file, "PNG")
    return file.getvalue()


def script(name: str) -> str:
    """A function to evaluate in the page."""
    return (Path(__file__).parent / "scripts" / f"{name}.js").read_text()


class EditorPage:
    """A playwright page and what a test does on it."""

    def __init__(self, page: Any, url: str):
        self.page, self.url = page, url
        self.size = SIZE  # of the image that is open
        self.on_step: Callable[[float, float], None] = lambda x, y: None  # is told where the mouse is
        self.pass_time: Callable[[int], None] = page.wait_for_timeout  # milliseconds
        self.failures: list[str] = []
        page.on("pageerror", lambda error: self.failures.append(str(error)))
        page.on("console", lambda line: self.failures.append(line.text) if "Security Policy" in line.text else None)

    def close(self) -> None:
        self.page.close()
        assert not self.failures, self.failures

    def reset(self, **settings: Any) -> None:
        """An image without boxes; settings as they are after the start, changed by `settings`."""
        request = self.page.request
        if request.get(f"{self.url}api/image").body() != picture():
            request.post(f"{self.url}api/image", data=picture())
        project = request.get(f"{self.url}api/project").json()
        own = {"prompt": "", "num_frames": 8, "num_inference_steps": 50, "seed": 33, "guidance_scale": None}
        own |= {"width": None, "height": None, "fps": 8}
        body = {"revision": project["revision"], "objects": [], "settings": own | settings}
        assert request.put(f"{self.url}api/project", data=body).ok
        self.open()

    def open(self) -> None:
        self.page.goto(self.url)
        self.until("#saved:text-is('Saved')")

    def project(self) -> dict[str, Any]:
        """The project as the server has it, once all is saved."""
        self.until("#saved:text-is('Saved')")
        return self.page.request.get(f"{self.url}api/project").json()

    def until(self, selector: str) -> None:
        """Wait until something is there."""
        end = time.monotonic() + 60
        while not self.page.locator(selector).first.is_visible():
            assert time.monotonic() < end, f"{selector} is not there; the page says {self.messages()}"
            self.pass_time(30)

    def objects(self) -> list[dict[str, Any]]:
        return self.project()["objects"]

    def boxes(self, index: int = 0) -> dict[int, list[float] | None]:
        """The key frames of an object, in whole pixels."""
        boxes = self.objects()[index]["boxes"]
        return {int(frame): box and [round(value) for value in box] for frame, box in boxes.items()}

    def screen(self, point: Point) -> Point:
        """A point of the image in the window."""
        place = self.page.evaluate(
            """() => {
              const edge = document.querySelector("#canvas").getBoundingClientRect();
              const { x, y, width } = Konva.stages[0].find("Image")[0].getAttrs();
              return [edge.left + x, edge.top + y, width];
            }"""
        )
        scale = place[2] / self.size[0]
        return place[0] + point[0] * scale, place[1] + point[1] * scale

    def drag(self, points: Sequence[Point], steps: int = 4, pause: int = 0) -> None:
        """Drag along points of the image."""
        self.move(points[0])
        self.page.mouse.down()
        for before, point in pairwise(points):
            for step in range(1, steps + 1):
                x, y = (a + (b - a) * step / steps for a, b in zip(before, point, strict=True))
                self.move((x, y))
                self.page.wait_for_timeout(pause)
        self.page.mouse.up()
        self.on_step(*self.screen(points[-1]))

    def move(self, point: Point) -> None:
        self.page.mouse.move(*self.screen(point))
        self.on_step(*self.screen(point))

    def click(self, selector: str) -> None:
        """Click, after the mouse has gone there."""
        target = self.page.locator(selector).first
        target.scroll_into_view_if_needed()
        box = target.bounding_box()
        self.on_step(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        target.click()
        self.on_step(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)

    def open_file(self, selector: str, path: Path) -> None:
        """Open a file with a button that asks for one."""
        with self.page.expect_file_chooser() as chooser:
            self.page.locator(selector).first.click()
        chooser.value.set_files(path)

    def draw(self, name: str, box: Sequence[float]) -> None:
        """Draw a box and type its name."""
        self.drag([(box[0], box[1]), (box[2], box[3])])
        self.until("#objects li:last-child input[type=text]:focus")
        self.page.keyboard.type(name)
        self.page.keyboard.press("Enter")

    def go(self, frame: int) -> None:
        """Put the playhead on a frame with a click on the time line."""
        ruler = self.page.locator(".ruler .track").bounding_box()
        frames = int(self.page.locator(".ruler").get_attribute("aria-valuemax")) + 1
        at = ruler["x"] + ruler["width"] * (frame + 0.5) / frames, ruler["y"] + ruler["height"] / 2
        self.on_step(*at)
        self.page.mouse.click(*at)
        self.on_step(*at)
        self.until(f"#counter:text('{frame} /')")

    def messages(self) -> list[str]:
        return [text.strip() for text in self.page.locator("#messages li span").all_inner_texts()]
