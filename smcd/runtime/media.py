"""Images and videos on disk: read, resize, write, draw boxes. Frames are uint8 arrays F H W 3."""

import contextlib
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import imageio.v3 as imageio
import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import PIL.ImageOps

from smcd.runtime.errors import InputError, first_line

MAX_PIXELS = 100_000_000
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_COLORS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080", "#f032e6", "#9a6324")
_LABEL_MIN_HEIGHT = 128  # on smaller frames a label would hide what it names


def read_image(path: Path) -> PIL.Image.Image:
    """An RGB image as a viewer shows it: EXIF orientation applied, transparency on white, deep grays scaled to 8 bits.

    Raises an InputError for a file that is not an image, is cut off, or has more than `MAX_PIXELS`.
    """
    try:
        image: PIL.Image.Image = PIL.Image.open(path)
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise ValueError(f"{width} x {height} pixels are too many")
        image.load()
    except Exception as error:  # a broken file can make Pillow's parsers raise anything
        fix = "save it again as PNG or JPEG, of at most 100 megapixels"
        raise InputError(f"{path}: cannot be read as an image ({first_line(error)}); {fix}") from None
    return as_shown(image)


def as_shown(image: PIL.Image.Image) -> PIL.Image.Image:
    """The image in RGB as a viewer shows it, see `read_image`."""
    with contextlib.suppress(Exception):  # broken EXIF data leave the image as it is
        image = PIL.ImageOps.exif_transpose(image)
    return _as_rgb(image)


def _as_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    """8-bit RGB: deep grays scaled, transparency on white."""
    if image.mode.startswith("I"):  # 16-bit gray
        image = PIL.Image.fromarray((np.asarray(image).clip(0, 65535) / 257).round().astype(np.uint8))
    if image.has_transparency_data:
        white = PIL.Image.new("RGBA", image.size, "white")
        image = PIL.Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")


def read_frame(file: Path | BinaryIO, size: tuple[int, int] | None = None, name: str = "") -> PIL.Image.Image:
    """A dataset's frame in RGB, as stored: boxes are given in these pixels, whatever EXIF says.

    Args:
        size: height and width to which it will be squashed: a JPEG is decoded at a half, a quarter or an eighth of its
            size if that is not below it, which is 2 to 5 times faster and differs by about 1/255.
        name: what messages call an open file; they are InputErrors for one that is missing, broken or no image.
    """
    try:
        with PIL.Image.open(file) as image:
            if size is not None:
                image.draft("RGB", size[::-1])
            return _as_rgb(image)
    except Exception as error:  # a broken file can make Pillow's parsers raise anything
        complaint = f"cannot be read as an image ({first_line(error)}); unpack the dataset again"
        raise InputError(f"{name or file}: {complaint}") from None


class VideoFile:
    """Frames of a video file (GIF, mp4, webm, ...) by their number; decord reads them if it is installed.

    Raises an InputError for a file that cannot be read as a video.
    """

    def __init__(self, path: Path):
        self.path = path
        is_gif = path.suffix.lower() == ".gif"
        self._decord = not is_gif and importlib.util.find_spec("decord") is not None
        self._options: dict[str, Any] = {"plugin": "pillow", "mode": "RGB"} if is_gif else {"plugin": "FFMPEG"}
        with self._readable("cannot be read as a video"):
            path.stat()  # says so plainly if the file is missing
            if self._decord:
                reader = self._open_decord()
                self.length, (self.height, self.width) = len(reader), reader[0].shape[:2]
            else:
                for count, frame in enumerate(imageio.imiter(path, **self._options), start=1):
                    self.length, (self.height, self.width) = count, frame.shape[:2]

    def read(self, frames: Sequence[int]) -> list[PIL.Image.Image]:
        """These frames in RGB. Raises an InputError if the file is broken there."""
        with self._readable(f"frames {list(frames)} cannot be read"):
            if self._decord:
                found = dict(zip(frames, self._open_decord().get_batch(list(frames)).asnumpy(), strict=True))
            else:
                decoded = enumerate(imageio.imiter(self.path, **self._options))
                found = {number: frame for number, frame in decoded if number in frames}
            return [PIL.Image.fromarray(found[number]) for number in frames]

    def _open_decord(self) -> Any:
        import decord

        return decord.VideoReader(str(self.path))

    @contextlib.contextmanager
    def _readable(self, complaint: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # decord raises its own errors, ffmpeg any
            raise InputError(f"{self.path}: {complaint} ({first_line(error)})") from None


def resize(image: PIL.Image.Image, height: int, width: int, antialias: bool = True) -> PIL.Image.Image:
    """Squash to height x width, bilinear; `antialias=False` is what the published code did."""
    if antialias:
        return image.resize((width, height), PIL.Image.Resampling.BILINEAR)
    from torch import from_numpy  # only here: the rest of this module needs no torch
    from torch.nn.functional import interpolate

    pixels = from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
    squashed = interpolate(pixels, (height, width), mode="bilinear", align_corners=False)
    return PIL.Image.fromarray(squashed[0].permute(1, 2, 0).round().byte().numpy())


def enlarge(frames: np.ndarray, side: int) -> np.ndarray:
    """Frames (F H W 3) whose smaller side is below `side`, repeated pixel by pixel until it is not."""
    times = -(-side // min(frames.shape[1:3]))  # rounded up
    return frames.repeat(times, axis=1).repeat(times, axis=2) if times > 1 else frames


def to_uint8(frames: np.ndarray) -> np.ndarray:
    """Frames in 0..1 as uint8: clamped, then rounded, so that white stays white."""
    return np.rint(np.clip(frames, 0, 1) * 255).astype(np.uint8)


def draw_boxes(
    frames: np.ndarray, boxes: Sequence[Sequence[Sequence[float] | None]], phrases: Sequence[str]
) -> np.ndarray:
    """Frames with each object's box and phrase in its own color; boxes F N xyxy in 0..1, None where absent."""
    drawn = []
    for frame, frame_boxes in zip(frames, boxes, strict=True):
        image = PIL.Image.fromarray(frame)
        draw = PIL.ImageDraw.Draw(image)
        for n, (box, phrase) in enumerate(zip(frame_boxes, phrases, strict=True)):
            if box is not None:
                _draw_box(draw, box, phrase, _COLORS[n % len(_COLORS)])
        drawn.append(np.asarray(image))
    return np.stack(drawn)


def _draw_box(draw: PIL.ImageDraw.ImageDraw, box: Sequence[float], phrase: str, color: str) -> None:
    width, height = draw.im.size
    x1, y1, x2, y2 = (round(value * (size - 1)) for value, size in zip(box, (width, height) * 2, strict=True))
    draw.rectangle((x1, y1, x2, y2), outline=color, width=max(1, height // 100))
    if height < _LABEL_MIN_HEIGHT:
        return
    font = PIL.ImageFont.load_default(size=max(10, height // 24))
    left, top, right, bottom = draw.textbbox((0, 0), phrase, font=font)
    label_width, label_height = right - left + 4, bottom - top + 4
    x = max(0, min(x1, width - label_width))
    y = y1 - label_height if y1 >= label_height else y1
    draw.rectangle((x, y, x + label_width, y + label_height), fill=color)
    draw.text((x + 2 - left, y + 2 - top), phrase, fill="white", font=font)


def strip(*rows: np.ndarray, most: int = 8, gap: int = 4) -> np.ndarray:
    """Up to `most` evenly spaced frames of each video side by side on white, one video below the other: H' W' 3."""
    pictures = []
    for frames in rows:
        picked = frames[np.unique(np.linspace(0, len(frames) - 1, min(most, len(frames))).round().astype(int))]
        padded = np.pad(picked, ((0, 0), (gap, gap), (gap, gap), (0, 0)), constant_values=255)
        pictures.append(np.concatenate(list(padded), axis=1))
    return np.concatenate(pictures)


def write_image(path: Path, image: np.ndarray) -> None:
    """Write H W 3 as PNG or as the suffix says."""
    PIL.Image.fromarray(image).save(path)


def write_frames(folder: Path, prefix: str, frames: np.ndarray) -> None:
    """Write `folder/prefix_0.png`, `folder/prefix_1.png`, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, frame in enumerate(frames):
        write_image(folder / f"{prefix}_{index}.png", frame)


def write_video(path: Path, frames: np.ndarray, fps: float = 8) -> None:
    """Write a looping .gif or an H.264 .mp4 that plays at `fps` frames a second; a ValueError for another suffix."""
    if path.suffix not in (".gif", ".mp4"):
        raise ValueError(f"{path}: a video is written as .gif or .mp4")
    if path.suffix == ".gif":
        ends = np.rint(np.arange(len(frames) + 1) * 100 / fps) * 10  # GIF counts hundredths of a second, in ms here
        durations = np.diff(ends).astype(int).tolist()
        imageio.imwrite(path, frames, duration=durations if len(frames) > 1 else durations[0], loop=0)
    else:
        imageio.imwrite(path, frames, fps=fps, codec="libx264", macro_block_size=2, quality=9)
