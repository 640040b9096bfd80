"""Images on disk, and videos to write: read, resize, draw boxes. Frames are uint8 arrays F H W 3."""

import contextlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import PIL.ImageOps

from smcd.runtime.errors import InputError, first_line

MAX_PIXELS = 100_000_000  # of an image, and of a frame of a video
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")  # others are not tried, whatever a file is called: EPS runs a program
_EXACT = 0x4 | 0x40000 | 0x80000  # ffmpeg's SWS_BICUBIC | SWS_ACCURATE_RND | SWS_BITEXACT: the same bytes in every run
_COLORS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080", "#f032e6", "#9a6324")
_LABEL_MIN_HEIGHT = 128  # on smaller frames a label would hide what it names


def _open_image(file: Path | BinaryIO) -> PIL.Image.Image:
    """An image whose pixels are yet to be read. Raises a ValueError if they are too many."""
    image: PIL.Image.Image = PIL.Image.open(file, formats=_FORMATS)
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels are too many")
    return image


def images_in(folder: Path) -> list[Path]:
    """The files of a folder that are called images; not those that macOS hides beside them."""
    paths = (path for path in sorted(folder.iterdir()) if not path.name.startswith("."))
    return [path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]


def read_image(path: Path) -> PIL.Image.Image:
    """An RGB image as a viewer shows it: EXIF orientation applied, transparency on white, deep grays scaled to 8 bits.

    Raises an InputError for a file that is not an image of a known format, is cut off, or has more than `MAX_PIXELS`.
    """
    try:
        image = _open_image(path)
        image.load()
    except Exception as error:  # a broken file can make Pillow's parsers raise anything
        fix = "save it again as PNG or JPEG, of at most 100 megapixels"
        raise InputError(f"{path}: cannot be read as an image ({first_line(error)}); {fix}") from None
    return as_shown(image)


def as_shown(image: PIL.Image.Image) -> PIL.Image.Image:
    """The image in RGB as a viewer shows it, see `read_image`."""
    with contextlib.suppress(Exception):  # broken EXIF data leave the image as it is
        image = PIL.ImageOps.exif_transpose(image)
    return as_rgb(image)


def as_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
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
        with _open_image(file) as image:
            if size is not None:
                image.draft("RGB", size[::-1])
            return as_rgb(image)
    except Exception as error:  # a broken file can make Pillow's parsers raise anything
        complaint = f"cannot be read as an image ({first_line(error)}); unpack the dataset again"
        raise InputError(f"{name or file}: {complaint}") from None


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
    if path.suffix == ".gif":
        ends = np.rint(np.arange(len(frames) + 1) * 100 / fps) * 10  # GIF counts hundredths of a second, in ms here
        durations = np.diff(ends).astype(int).tolist()
        first, *rest = map(PIL.Image.fromarray, frames)
        first.save(path, save_all=True, append_images=rest, duration=durations if rest else durations[0], loop=0)
    elif path.suffix == ".mp4":
        _write_mp4(path, frames, fps)
    else:
        raise ValueError(f"{path}: a video is written as .gif or .mp4")


def _write_mp4(path: Path, frames: np.ndarray, fps: float) -> None:
    even = np.pad(frames, ((0, 0), *((0, side % 2) for side in frames.shape[1:3]), (0, 0)), mode="edge")
    with av.open(f"file:{path}", "w", options={"movflags": "+faststart"}) as container:  # plays while it is loading
        # With several threads, or x264's "macroblock tree", the file's bytes differ in one of some hundred runs.
        options = {"crf": "5", "x264-params": "mbtree=0"}
        stream = container.add_stream("libx264", Fraction(fps).limit_denominator(1000), options)
        stream.height, stream.width = even.shape[1:3]
        stream.codec_context.thread_count = 1
        stream.pix_fmt = "yuv420p"  # what every player shows; it needs even sides
        for frame in even:
            image = av.VideoFrame.from_ndarray(frame)
            container.mux(stream.encode(image.reformat(format="yuv420p", interpolation=_EXACT, threads=1)))
        container.mux(stream.encode())
