"""Video files: frames by the number under which a player shows them."""

import contextlib
import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import av
import numpy as np
import PIL.Image
from av.container import InputContainer
from av.stream import Disposition

from smcd.runtime.errors import InputError, first_line
from smcd.runtime.media import MAX_PIXELS, as_rgb

VIDEO_SUFFIXES = (".mp4", ".mov", ".webm", ".mkv", ".avi", ".gif")
_ONLY = {"format_whitelist": "mov,matroska,avi,gif", "protocol_whitelist": "file"}
# ffmpeg's SWS_BICUBIC | SWS_FULL_CHR_H_INT | SWS_ACCURATE_RND | SWS_BITEXACT. By default, the conversion to RGB makes
# frames darker by more than 1 of 255, and white gray, and repeats colors in blocks of 2 x 2.
_TO_RGB = 0x4 | 0x2000 | 0x40000 | 0x80000
_Turn = PIL.Image.Transpose
_TURNS = {  # signs of a, b, c, d, where a display matrix takes x to (a, b) and y to (c, d)
    (1, 0, 0, 1): None,
    (-1, 0, 0, -1): _Turn.ROTATE_180,
    (-1, 0, 0, 1): _Turn.FLIP_LEFT_RIGHT,
    (1, 0, 0, -1): _Turn.FLIP_TOP_BOTTOM,
    (0, 1, -1, 0): _Turn.ROTATE_270,
    (0, -1, 1, 0): _Turn.ROTATE_90,
    (0, 1, 1, 0): _Turn.TRANSPOSE,
    (0, -1, -1, 0): _Turn.TRANSVERSE,
}


class VideoFile:
    """The frames of a video file in the order, and turned the way, in which a player shows them.

    Edit lists are honored, and variable frame rates are not resampled. A frame is found by its time: decoding starts
    at a key frame before it, and must give the times that the file lists. If the file lists none, or its first or last
    frame has another, frames are counted from the start, which takes longer.

    With `every_frame`, all frames are decoded to find damage, otherwise the first and those after the last key frame.

    Raises an InputError for a file that cannot be read as a video or is cut off, or whose frames have no clear order.
    """

    def __init__(self, path: Path, every_frame: bool = False):
        self.path = path.absolute()
        self._size: tuple[int, int] | None = None
        with self._readable("cannot be read as a video"):
            self.path.stat()  # says so plainly if the file is missing
            self._times, self._keys = _listed_times(self.path)
            last = len(self._times) - 1
            if last < 0 or not (self._find([0]) and self._find([last])):
                self._times, last = array("q"), self._count() - 1
                self._find([0])
            elif every_frame and not self._decode([last], None):
                raise ValueError("not all of its frames come at the times that it lists")
        self.length, (self.width, self.height) = last + 1, self._size or (0, 0)

    def read(self, frames: Sequence[int]) -> list[PIL.Image.Image]:
        """These frames in RGB. Raises an InputError if the file is broken there."""
        with self._readable(f"frames {list(frames)} cannot be read"):
            found = self._find(frames)
            if not found:
                raise ValueError("a frame is damaged or missing")
            return [found[number] for number in frames]

    def _find(self, frames: Collection[int]) -> dict[int, PIL.Image.Image] | None:
        """Frames by their number, decoded from a key frame before them, or else from the start; None if that fails."""
        before = bisect_right(self._keys, self._times[min(frames)]) if self._times else 0
        nearest = reversed(self._keys[max(0, before - 2) : before])
        return next(filter(None, (self._decode(frames, key) for key in (*nearest, None))), None)

    def _decode(self, frames: Collection[int], key: int | None) -> dict[int, PIL.Image.Image] | None:
        """Frames by their number, decoded from the time of a key frame on (None: from the start).

        Returns None if a frame on the way is damaged, or is not the one that the listed times let expect.
        """
        found: dict[int, PIL.Image.Image] = {}
        number = 0 if key is None else bisect_left(self._times, key)
        with _opened(self.path) as (container, stream):
            if key is not None:
                container.seek(key, stream=stream)
            for frame in container.decode(stream):
                if key is not None and (frame.pts is None or frame.pts < key):
                    continue  # it may depend on frames before the key frame
                if frame.is_corrupt or (self._times and frame.pts != self._times[number]):
                    return None
                if number in frames:
                    found[number] = _picture(frame)
                    self._size = self._size or found[number].size
                    if found[number].size != self._size:
                        sizes = " x ".join(map(str, found[number].size)), " x ".join(map(str, self._size))
                        raise ValueError(f"frame {number} has {sizes[0]} pixels, frame 0 {sizes[1]}")
                    if len(found) == len(set(frames)):
                        return found
                number += 1
        return None

    def _count(self) -> int:
        """The number of frames, by decoding all. Raises a ValueError for a damaged one, or times that do not rise."""
        count, before = 0, -math.inf
        with _opened(self.path) as (container, stream):
            for count, frame in enumerate(container.decode(stream), start=1):
                if frame.is_corrupt:
                    raise ValueError(f"frame {count - 1} is damaged")
                time = frame.pts if frame.pts is not None and _is_timed(container) else count
                if time <= before:
                    raise ValueError(f"frame {count - 1} is not shown after the frame before it")
                before = time
        if not count:
            raise ValueError("it holds no frames")
        return count

    @contextlib.contextmanager
    def _readable(self, complaint: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # a broken file can make a decoder raise anything
            reason = getattr(error, "strerror", None) or first_line(error)
            kinds = ", ".join(VIDEO_SUFFIXES)
            fix = f"; give a whole file of {kinds}, made anew if need be (ffmpeg -i {self.path.name} new.mp4)"
            raise InputError(f"{self.path}: {complaint} ({reason}){fix if self.path.is_file() else ''}") from None


def _picture(frame: av.VideoFrame) -> PIL.Image.Image:
    """A frame in RGB, transparency on white, turned as its file asks for. Raises a ValueError for an odd angle."""
    alpha = any(component.is_alpha for component in frame.format.components)
    pixels = frame.to_ndarray(format="rgba" if alpha else "rgb24", interpolation=_TO_RGB, threads=1)
    image = as_rgb(PIL.Image.fromarray(pixels))
    try:
        matrix = bytes(frame.side_data["DISPLAYMATRIX"])  # type: ignore[typeddict-item]
    except (KeyError, ValueError):  # there is none, or beside it is a kind of data that PyAV cannot name (EXIF is one)
        if frame.rotation:
            raise
        return image
    signs = tuple(int(sign) for sign in np.sign(np.frombuffer(matrix, np.int32)[[0, 1, 3, 4]]))
    if signs not in _TURNS:
        raise ValueError("it is to be turned by an angle that is not a multiple of 90 degrees")
    turn = _TURNS[signs]
    return image if turn is None else image.transpose(turn)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, av.VideoStream]]:
    with av.open(f"file:{path}", container_options=_ONLY, metadata_errors="replace") as container:
        stream = container.streams.best("video")
        if not isinstance(stream, av.VideoStream) or stream.disposition & Disposition.attached_pic:
            raise ValueError("it holds no video")
        if stream.width * stream.height > MAX_PIXELS:
            raise ValueError(f"{stream.width} x {stream.height} pixels are too many")
        stream.codec_context.thread_count = 1  # several processes may read at the same time
        yield container, stream


def _is_timed(container: InputContainer) -> bool:
    """Whether files of this kind store when a frame is shown; in avi and gif the order of decoding is all there is."""
    return container.format.name.startswith(("mov", "matroska"))


def _listed_times(path: Path) -> tuple[array, array]:
    """Times of the frames that are shown, and of key frames: sorted, in the stream's unit.

    Empty if the file does not list a time for each frame. Raises a ValueError for a file that is cut off.
    """
    times: list[int | None] = []
    keys: list[int] = []
    with _opened(path) as (container, stream):
        for packet in container.demux(stream):
            if packet.is_corrupt:
                raise ValueError("it is cut off")
            if packet.size and not packet.is_discard:  # the last one is empty, and an edit list hides others
                times.append(packet.pts)
            if packet.is_keyframe and packet.pts is not None:
                keys.append(packet.pts)
        if _ends_early(path, container.format.name):
            raise ValueError("it is cut off")
        unique = {time for time in times if time is not None}
        if not _is_timed(container) or len(unique) < len(times):
            return array("q"), array("q")
    return array("q", sorted(unique)), array("q", sorted(keys))


def _ends_early(path: Path, kind: str) -> bool:
    """Whether a Matroska file or a GIF lacks its end, which ffmpeg passes over in silence."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(4096)
        file.seek(max(0, size - 64))
        end = file.read().rstrip(b"\0")
    if kind == "gif":
        return not end.endswith(b";")
    place = start.find(b"\x18\x53\x80\x67") + 4  # Matroska's element that holds everything, followed by its length
    if not kind.startswith("matroska") or place < 4:
        return False
    width = 9 - start[place].bit_length()  # bytes; the leading zeros of the first one tell
    unknown = (1 << 7 * width) - 1
    length = int.from_bytes(start[place : place + width]) & unknown
    return length != unknown and place + width + length > size
