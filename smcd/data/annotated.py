"""What the datasets of annotated videos share: all annotations are read and checked at the start."""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

from tqdm import tqdm

from smcd.data.clips import Video
from smcd.runtime.errors import InputError

_THREADS = 16  # many small files: reading them is mostly waiting
_MANY = 200  # videos for which a progress bar is shown


class AnnotatedVideos:
    """The part of a `VideoSource` that keeps annotations.

    Args:
        read: gives the annotation of a video by its name, or raises an InputError.
        unused: videos that are left out unread, with the reason.
        min_frames: shorter videos are dropped.
        on_error: "error" raises the InputError of a broken annotation, "skip" drops the video.
    """

    def __init__(
        self,
        name: str,
        names: Sequence[str],
        read: Callable[[str], Video],
        unused: dict[str, str],
        min_frames: int,
        on_error: str,
    ):
        self.name = name
        self.dropped = dict(unused)
        self._videos: dict[str, Video] = {}
        pool = ThreadPoolExecutor(_THREADS)
        try:
            found = {name: pool.submit(read, name) for name in names if name not in unused}
            for name, result in tqdm(found.items(), self.name, disable=len(found) < _MANY):
                try:
                    video = result.result()
                except InputError as error:
                    if on_error != "skip":
                        raise
                    self.dropped[name] = str(error)
                    continue
                if len(video) < min_frames:
                    self.dropped[name] = f"{len(video)} frames, {min_frames} are needed"
                else:
                    self._videos[name] = video
        finally:
            pool.shutdown(cancel_futures=True)
        self.names = list(self._videos)

    @cached_property
    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for name in self.names:
            video = self._videos[name]
            digest.update(repr((name, video.prompt, video.phrases, video.fingerprint)).encode())
            digest.update(video.boxes.tobytes() + video.box_mask.tobytes())
        return digest.hexdigest()

    def video(self, index: int) -> Video:
        return self._videos[self.names[index]]
