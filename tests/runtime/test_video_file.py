"""Frames of video files come by the number under which a player shows them, or the file is refused."""

import io
import random
from fractions import Fraction

import av
import numpy as np
import PIL.Image
import pytest

from smcd.runtime.errors import InputError
from smcd.runtime.media import write_video
from smcd.runtime.video_file import VideoFile

WIDTH, HEIGHT, BITS = 64, 64, 8


def picture(number: int) -> np.ndarray:
    """A frame that shows its number: eight columns, white for 1 and black for 0, and a moving gray bar below."""
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for bit in range(BITS):
        frame[:32, 8 * bit : 8 * bit + 8] = 255 * (number >> bit & 1)
    frame[32:, number % 40 : number % 40 + 24] = 128
    return frame


def number_in(image: PIL.Image.Image) -> int:
    return sum(1 << bit for bit in range(BITS) if np.asarray(image)[16, 8 * bit + 4, 1] > 127)


def write(path, codec="libx264", options=None, count=60, times=None, pix_fmt="yuv420p"):
    """A video of `picture(0)`, `picture(1)`, ..., shown at `times` in 1/100 s."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, 25, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pix_fmt
        stream.codec_context.time_base = Fraction(1, 100)
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(picture(number)).reformat(format=pix_fmt)
            frame.pts, frame.time_base = times[number] if times else 4 * number, Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def copy(source, path, start: int = 0, seconds: float = 9.0):
    """The packets of a video in another file; from `start` (1/100 s) on, as `ffmpeg -ss ... -c copy` cuts it."""
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        if start:
            old.seek(int(start / 100 / old.streams.video[0].time_base), stream=old.streams.video[0])
        shift = int(start / 100 / old.streams.video[0].time_base)
        for packet in old.demux(video=0):
            if packet.size and packet.dts * packet.time_base <= start / 100 + seconds:
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
                new.mux(packet)
    return path


def write_jpegs(path, images, times=None, **saved):
    """A video of JPEG images, one packet for each."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", 25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
        for number, image in enumerate(images):
            data = io.BytesIO()
            image.save(data, "JPEG", **saved)
            packet = av.Packet(data.getvalue())
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 25), True
            packet.dts, packet.pts = number, times[number] if times else number
            container.mux(packet)
    return path


H264 = {"g": "20", "bf": "3", "x264-params": "b-adapt=0:scenecut=0"}
OPEN = H264 | {"x264-params": "b-adapt=0:scenecut=0:open-gop=1"}
UNEVEN = np.cumsum([random.Random(0).choice([1, 4, 30]) for _ in range(60)]).tolist()
KINDS = {
    "b-frames.mp4": lambda path: write(path, options=H264),
    "b-frames.MOV": lambda path: write(path.with_suffix(".mov"), options=H264).rename(path),
    "b-frames.mkv": lambda path: write(path, options=H264),
    "h264.avi": lambda path: write(path, options=H264),
    "mpeg4.avi": lambda path: write(path, "mpeg4", {"bf": "2", "g": "12", "b": "2M"}),
    "mpeg4.mp4": lambda path: write(path, "mpeg4", {"bf": "2", "g": "12", "b": "2M"}),
    "open.mp4": lambda path: write(path, options=OPEN),
    "refresh.mp4": lambda path: write(path, options={"x264-params": "intra-refresh=1:keyint=15"}),
    "uneven.mp4": lambda path: write(path, options=H264, times=UNEVEN),
    "late.mkv": lambda path: write(path, options=H264, times=[500 + 4 * n for n in range(60)]),
    "vp9.webm": lambda path: write(path, "libvpx-vp9", {"g": "25", "deadline": "realtime", "cpu-used": "8"}),
    "av1.mp4": lambda path: write(path, "libsvtav1", {"g": "20", "preset": "12"}),
    "hevc.mp4": lambda path: write(path, "libx265", {"preset": "ultrafast", "x265-params": "keyint=20:log-level=none"}),
    "deep.mp4": lambda path: write(path, options=H264, pix_fmt="yuv420p10le"),
    "anim.gif": lambda path: write_video(path, np.stack([picture(n) for n in range(60)])),
    "jpeg.avi": lambda path: write_jpegs(path, [PIL.Image.fromarray(picture(n)) for n in range(60)]),
}


@pytest.mark.parametrize("name", KINDS)
def test_frames_come_by_their_number(tmp_path, name):
    KINDS[name](tmp_path / name)
    video = VideoFile(tmp_path / name)
    assert (video.length, video.width, video.height) == (60, WIDTH, HEIGHT)
    for start in (52, 0, 17, 20, 35):
        frames = range(start, start + 8)
        assert [number_in(image) for image in video.read(frames)] == list(frames)
    assert [number_in(image) for image in video.read([41, 5, 5, 30])] == [41, 5, 5, 30]


@pytest.mark.parametrize("options", [H264, OPEN], ids=["closed", "open"])
@pytest.mark.parametrize("name", ["cut.mp4", "cut.mov"])
def test_a_cut_without_encoding_begins_where_its_edit_list_says(tmp_path, name, options):
    copy(write(tmp_path / "whole.mp4", options=options), tmp_path / name, start=112)
    video = VideoFile(tmp_path / name)
    assert [number_in(image) for image in video.read(range(video.length))] == list(range(28, 60))
    assert [number_in(image) for image in video.read(range(13, 21))] == list(range(41, 49))


def test_colors_are_not_shifted(tmp_path):
    ramp = np.broadcast_to(
        np.linspace(0, 255, WIDTH).round().astype(np.uint8)[None, None, :, None], (2, HEIGHT, WIDTH, 3)
    )
    write_video(tmp_path / "a.mp4", ramp)
    read = np.asarray(VideoFile(tmp_path / "a.mp4").read([1])[0]).astype(float)
    assert abs((read - ramp[1]).mean()) < 0.3
    assert (read[:, 0] == 0).all()
    assert (read[:, -1] == 255).all()


TURNS = {  # the display matrix of the file, and how it changes a picture
    "90 degrees": ((0, 1, -1, 0), PIL.Image.Transpose.ROTATE_270),
    "180 degrees": ((-1, 0, 0, -1), PIL.Image.Transpose.ROTATE_180),
    "270 degrees": ((0, -1, 1, 0), PIL.Image.Transpose.ROTATE_90),
    "mirrored": ((-1, 0, 0, 1), PIL.Image.Transpose.FLIP_LEFT_RIGHT),
}


@pytest.mark.parametrize("turn", TURNS)
def test_frames_are_turned_as_the_file_asks(tmp_path, turn):
    (a, b, c, d), transpose = TURNS[turn]
    image = PIL.Image.new("RGB", (WIDTH, HEIGHT // 2), "white")
    image.paste("red", (0, 0, 16, 8))
    write_video(tmp_path / "a.mp4", np.asarray(image)[None])
    plain = VideoFile(tmp_path / "a.mp4").read([0])[0]
    content = (tmp_path / "a.mp4").read_bytes()
    matrix = content.index(b"tkhd") + 44  # nine numbers, big-endian, the last one in 2.30 bits and the others in 16.16
    unity = 1 << 16
    numbers = np.array([a * unity, b * unity, 0, c * unity, d * unity, 0, 0, 0, 1 << 30], ">i4").tobytes()
    (tmp_path / "a.mp4").write_bytes(content[:matrix] + numbers + content[matrix + len(numbers) :])
    video = VideoFile(tmp_path / "a.mp4")
    [shown] = video.read([0])
    assert shown.size == (video.width, video.height) == plain.transpose(transpose).size
    assert np.array_equal(shown, plain.transpose(transpose))


def test_transparency_is_on_white_and_exif_does_not_matter(tmp_path):
    clear = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    with av.open(str(tmp_path / "clear.mov"), "w") as container:
        stream = container.add_stream("png", 25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "rgba"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(clear, format="rgba")))
        container.mux(stream.encode())
    assert (np.asarray(VideoFile(tmp_path / "clear.mov").read([0])[0]) == 255).all()
    exif = PIL.Image.Exif()
    exif[0x010F] = "maker of the camera"
    write_jpegs(tmp_path / "a.mov", [PIL.Image.fromarray(picture(n)) for n in range(3)], exif=exif)
    assert number_in(VideoFile(tmp_path / "a.mov").read([2])[0]) == 2


@pytest.mark.parametrize("part", [0.05, 0.6, 0.9])
@pytest.mark.parametrize("name", ["b-frames.mkv", "mpeg4.mp4", "vp9.webm", "anim.gif", "jpeg.avi"])
def test_what_is_cut_off_is_refused_when_it_is_opened(tmp_path, name, part):
    KINDS[name](tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(part * len(content))])
    with pytest.raises(InputError, match=f"{name}: cannot be read as a video") as error:
        VideoFile(tmp_path / name)
    assert "\n" not in str(error.value)


def test_damage_in_the_middle_is_found_if_every_frame_is_asked_for(tmp_path):
    path = write(tmp_path / "a.mp4", options=H264)
    VideoFile(path, every_frame=True)
    with av.open(str(path)) as container:
        hit = [packet for packet in container.demux(video=0) if packet.size][24]
        place, size = hit.pos, hit.size
    content = bytearray(path.read_bytes())
    content[place : place + size] = bytes(size)
    path.write_bytes(content)
    video = VideoFile(path)  # the first frame and the last ones are whole
    assert [number_in(video.read([number])[0]) for number in (2, 59)] == [2, 59]
    with pytest.raises(InputError, match=r"a\.mp4: frames \[22, 23, 24, 25\] cannot be read"):
        video.read([22, 23, 24, 25])
    with pytest.raises(InputError, match=r"a\.mp4: cannot be read as a video"):
        VideoFile(path, every_frame=True)


def write_sound(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", 8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))


def write_two_sizes(path):
    images = [PIL.Image.fromarray(picture(number)) for number in range(2)]
    write_jpegs(path, [images[0], images[1].resize((48, 56))])


def write_playlist(path):
    write_video(path.parent / "other.mp4", np.stack([picture(0)] * 2))
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.mp4\n#EXT-X-ENDLIST\n")


BAD = {
    "sound.mov": (write_sound, "it holds no video"),
    "sizes.mov": (write_two_sizes, "frame 1 has 48 x 56 pixels, frame 0 64 x 64"),
    "twice.mov": (
        lambda path: write_jpegs(path, [PIL.Image.new("RGB", (64, 64))] * 4, [1, 2, 2, 3]),
        "frame 2 is not shown after the frame before it",
    ),
    "list.mp4": (write_playlist, r"give a whole file of \.mp4, \.mov, "),
    "empty.mp4": (lambda path: path.write_bytes(b""), "give a whole file"),
    "none.mp4": (lambda path: None, "No such file"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused(tmp_path, name):
    make, message = BAD[name]
    make(tmp_path / name)
    with pytest.raises(InputError, match=message):
        VideoFile(tmp_path / name)


def test_frames_have_the_limit_of_images(tmp_path, monkeypatch):
    write_video(tmp_path / "a.gif", np.stack([picture(0)] * 2))
    monkeypatch.setattr("smcd.runtime.video_file.MAX_PIXELS", 4000)
    with pytest.raises(InputError, match="64 x 64 pixels are too many"):
        VideoFile(tmp_path / "a.gif")
