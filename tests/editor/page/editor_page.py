"""The editor's page as a user has it: frames and points of the image, not pixels of the screen."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL.Image

Point = tuple[float, float]
SIZE = 320, 240  # of the image that tests open


def picture(color: tuple[int, int, int] = (70, 80, 90), size: tuple[int, int] = SIZE) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(np.full((size[1], size[0], 3), color, np.uint8)).save(file, "PNG")
    return file.getvalue()


class EditorPage:
    """A playwright page and what a test does on it."""

    def __init__(self, page: Any, url: str):
        self.page, self.url = page, url
        self.failures: list[str] = []
        page.on("pageerror", lambda error: self.failures.append(str(error)))
        page.on("console", lambda line: self.failures.append(line.text) if "Security Policy" in line.text else None)

    def close(self) -> None:
        self.page.close()
        assert not self.failures

    def reset(self, **settings: Any) -> None:
        """An image without boxes; settings as they are after the start, changed by `settings`."""
        request = self.page.request
        request.post(f"{self.url}api/image", data=picture())
        project = request.get(f"{self.url}api/project").json()
        own = {"prompt": "", "num_frames": 8, "num_inference_steps": 50, "seed": 33, "guidance_scale": None}
        own |= {"width": None, "height": None, "fps": 8}
        body = {"revision": project["revision"], "objects": [], "settings": own | settings}
        assert request.put(f"{self.url}api/project", data=body).ok
        self.open()

    def open(self) -> None:
        self.page.goto(self.url)
        self.page.locator("#saved", has_text="Saved").wait_for()

    def project(self) -> dict[str, Any]:
        """The project as the server has it, once all is saved."""
        self.page.locator("#saved", has_text="Saved").wait_for()
        self.page.wait_for_timeout(50)
        self.page.locator("#saved", has_text="Saved").wait_for()
        return self.page.request.get(f"{self.url}api/project").json()

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
        scale = place[2] / SIZE[0]
        return place[0] + point[0] * scale, place[1] + point[1] * scale

    def drag(self, points: Sequence[Point], steps: int = 4, pause: int = 0) -> None:
        mouse = self.page.mouse
        mouse.move(*self.screen(points[0]))
        mouse.down()
        for point in points[1:]:
            mouse.move(*self.screen(point), steps=steps)
            self.page.wait_for_timeout(pause)
        mouse.up()

    def draw(self, name: str, box: Sequence[float]) -> None:
        """Draw a box and type its name."""
        self.drag([(box[0], box[1]), (box[2], box[3])])
        self.page.locator("#objects li:last-child input[type=text]:focus").wait_for()
        self.page.keyboard.type(name)
        self.page.keyboard.press("Enter")

    def go(self, frame: int) -> None:
        """Put the playhead on a frame, with the time line's own keys."""
        self.page.locator(".ruler").focus()
        self.page.keyboard.press("Home")
        for _ in range(frame):
            self.page.keyboard.press("ArrowRight")
        self.page.locator(f"#counter:has-text('{frame} /')").wait_for()

    def messages(self) -> list[str]:
        return [text.strip() for text in self.page.locator("#messages li span").all_inner_texts()]
