"""Sprites without files: the synthetic world as a dataset."""

import hashlib
import json
from collections.abc import Sequence

import numpy as np
import PIL.Image

from smcd.data.clips import Video
from smcd.sprites.world import SpriteClip, World, make_clip

_KEPT = 20_000  # annotations, of 1 to 2 KB


class Sprites:
    """Clips of a sprites world, made when they are asked for; a `VideoSource`.

    Another seed gives another world; frames are squares of `size` pixels.
    """

    def __init__(self, clips: int, seed: int = 0, frames: int = 8, size: int = 256, world: World | None = None):
        self.name = f"sprites/{seed}"
        self.names = [f"{index:06d}" for index in range(clips)]
        self.dropped: dict[str, str] = {}
        self._settings = (frames, size, world)
        description = json.dumps((world or World()).description())
        self.fingerprint = hashlib.sha1(description.encode()).hexdigest()[:16]
        self._seed = seed
        self._last: tuple[int, SpriteClip] | None = None
        self._videos: dict[int, Video] = {}

    def clip(self, index: int) -> SpriteClip:
        """All that is known of a video, its masks and sprites too."""
        last = self._last  # by its own name, since another thread may put another clip there
        if last is None or last[0] != index:  # the annotation is asked for first, the frames next
            self._last = last = index, make_clip(self._seed, index, *self._settings)
        return last[1]

    def video(self, index: int) -> Video:
        """The annotation, which is kept: with cached latents nothing else is needed, and drawing is slow."""
        if index not in self._videos:
            if len(self._videos) >= _KEPT:
                self._videos.clear()
            name, clip, origin = self.names[index], self.clip(index), (self.name, self.fingerprint)
            phrases = [sprite.phrase for sprite in clip.sprites]
            self._videos[index] = Video(name, clip.caption, phrases, clip.boxes, clip.box_mask, *origin)
        return self._videos[index]

    def images(self, index: int, frames: Sequence[int], size: tuple[int, int] | None) -> list[PIL.Image.Image]:
        pixels: np.ndarray = self.clip(index).frames
        return [PIL.Image.fromarray(pixels[frame]) for frame in frames]
