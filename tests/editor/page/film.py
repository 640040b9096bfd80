"""Pictures of what a test does: stills of its scenes, and a film with the mouse in it. Only if PICTURES is set."""

import io
import os
import time
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw

from tests.editor.page.editor_page import EditorPage

RATE = 10  # pictures a second
WIDTH = 960  # of the film
_ARROW = [(0, 0), (0, 17), (4, 13), (7, 19), (10, 18), (7, 12), (12, 12)]


class Film:
    """Takes a picture at every step of the mouse, until `cut`.

    While it runs, the page's clock goes by a picture at a time, so that the film runs evenly on any machine.
    """

    def __init__(self, editor: EditorPage):
        self.page, self.on = editor.page, "PICTURES" in os.environ
        self.frames: list[PIL.Image.Image] = []
        self.scenes: dict[str, bytes] = {}
        self.editor, self._mouse, self._runs = editor, (640.0, 360.0), self.on
        if self.on:
            self.page.clock.install()
        editor.open()
        if self.on:
            self.page.clock.pause_at(time.time() + 60)
            editor.on_step, editor.pass_time = self._step, self.page.clock.run_for

    def scene(self, name: str) -> None:
        if self.on:
            self.editor.pass_time(200)
            self.scenes[name] = self.page.screenshot()

    def wait(self, seconds: float) -> None:
        for _ in range(round(seconds * RATE) if self._runs else 0):
            self._shoot()

    def wait_for(self, selector: str) -> None:
        """Wait for something that goes on by steps, with a picture at every second step."""
        target, progress = self.page.locator(selector).first, self.page.locator(".cell .progress")
        shown = -2
        while self._runs and not target.is_visible():
            self.editor.pass_time(20)
            step = int("".join(progress.all_inner_texts()).partition(" ")[0].strip("WaitngSr") or 0)
            if step >= shown + 2:
                shown = step
                self._shoot()
        target.wait_for(timeout=120_000)

    def cut(self) -> None:
        if self._runs:
            self._runs = False
            self.page.clock.resume()
            self.editor.pass_time = self.page.wait_for_timeout

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name, picture in self.scenes.items():
            (folder / f"{name}.png").write_bytes(picture)
        shown = [np.asarray(frame) for frame in self.frames[:: len(self.frames) // 8]]
        palette = PIL.Image.fromarray(np.concatenate(shown)).quantize(200)
        frames = [frame.quantize(palette=palette, dither=PIL.Image.Dither.NONE) for frame in self.frames]
        frames[0].save(folder / "editor.gif", append_images=frames[1:], duration=1000 // RATE, loop=0, optimize=True)

    def _step(self, x: float, y: float) -> None:
        before, self._mouse = self._mouse, (x, y)
        if not self._runs:
            return
        far = abs(x - before[0]) + abs(y - before[1]) > 120
        for part in (0.33, 0.67, 1.0) if far else (1.0,):  # the way there is seen
            self._shoot((before[0] + (x - before[0]) * part, before[1] + (y - before[1]) * part))

    def _shoot(self, mouse: tuple[float, float] | None = None) -> None:
        x, y = mouse or self._mouse
        self.page.clock.run_for(1000 // RATE)
        image = PIL.Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
        PIL.ImageDraw.Draw(image).polygon([(x + a, y + b) for a, b in _ARROW], fill="white", outline="black")
        height = round(image.height * WIDTH / image.width)
        self.frames.append(image.resize((WIDTH, height), PIL.Image.Resampling.LANCZOS))
