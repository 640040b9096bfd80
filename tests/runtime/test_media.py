"""Frames on disk: colors, rounding and frame rates survive."""

import av
import imageio.v3 as imageio
import numpy as np
import PIL.Image
import pytest
import torch

from smcd.runtime import media
from smcd.runtime.errors import InputError


def blocks(frames: int = 5, size: int = 64) -> np.ndarray:
    """Solid red, green, blue and white quarters, the white one growing darker frame by frame."""
    video = np.zeros((frames, size, size, 3), np.uint8)
    half = size // 2
    video[:, :half, :half, 0] = video[:, :half, half:, 1] = video[:, half:, :half, 2] = 255
    for index in range(frames):
        video[index, half:, half:] = 255 - 10 * index
    return video


@pytest.mark.parametrize(("suffix", "tolerance"), [("gif", 2), ("mp4", 12)])
def test_videos_keep_frames_and_colors(tmp_path, suffix, tolerance):
    video = blocks()
    media.write_video(tmp_path / f"video.{suffix}", video)
    read = imageio.imread(tmp_path / f"video.{suffix}", index=None if suffix == "mp4" else ...)[..., :3]
    assert read.shape == video.shape
    centers = (slice(None), slice(8, None, 16), slice(8, None, 16))
    assert np.abs(read[centers].astype(int) - video[centers]).max() <= tolerance


@pytest.mark.parametrize("fps", [8, 10, 12, 24])
def test_gif_plays_at_its_frame_rate(tmp_path, fps):
    media.write_video(tmp_path / "video.gif", blocks(frames=9), fps)
    with PIL.Image.open(tmp_path / "video.gif") as gif:
        durations = []
        for index in range(gif.n_frames):
            gif.seek(index)
            durations.append(gif.info["duration"])
        assert gif.info["loop"] == 0
    assert sum(durations) == pytest.approx(9 * 1000 / fps, abs=5)


@pytest.mark.parametrize("fps", [8, 7.5, 29.97])
def test_mp4_plays_at_its_frame_rate_while_it_is_loading(tmp_path, fps):
    media.write_video(tmp_path / "video.mp4", blocks(), fps)
    with av.open(str(tmp_path / "video.mp4")) as container:
        assert float(container.streams.video[0].average_rate) == pytest.approx(fps)
    content = (tmp_path / "video.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_an_mp4_is_the_same_every_time(tmp_path):
    noise, sizes = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), dtype=np.uint8), range(100, 9000, 100)
    written, kept = set(), []
    for size in sizes:  # memory that lies elsewhere each time
        kept.append(bytes(size))
        media.write_video(tmp_path / "video.mp4", noise)
        written.add((tmp_path / "video.mp4").read_bytes())
    assert len(written) == 1


def test_an_mp4_of_odd_sides_is_padded_by_its_last_pixels(tmp_path):
    media.write_video(tmp_path / "video.mp4", blocks()[:, :63, :61])
    [frame] = imageio.imread(tmp_path / "video.mp4", plugin="pyav")[:1]
    assert frame.shape == (64, 62, 3)
    assert np.abs(frame[8:24, 8:24].astype(int) - blocks()[0, 8:24, 8:24]).max() <= 12
    assert np.abs(frame[-1, -1].astype(int) - blocks()[0, 62, 60]).max() <= 12


def test_unknown_video_suffix(tmp_path):
    with pytest.raises(ValueError, match=r"\.gif or \.mp4"):
        media.write_video(tmp_path / "video.avi", blocks())


def test_white_stays_white_and_halves_are_rounded():
    assert media.to_uint8(np.array([-0.1, 0, 0.499 / 255, 0.6 / 255, 1, 1.2])).tolist() == [0, 0, 0, 1, 255, 255]


def test_boxes_are_drawn_where_they_are_and_only_there():
    frames = np.full((2, 64, 100, 3), 255, np.uint8)
    drawn = media.draw_boxes(frames, [[(0.1, 0.25, 0.5, 0.75)], [None]], ["cat"])
    changed = (drawn[0] != 255).any(-1)
    rows, columns = np.where(changed)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (16, 47, 10, 50)
    assert not changed[20:44, 14:46].any()
    assert (drawn[1] == 255).all()
    assert (frames == 255).all()


def test_labels_stay_inside_the_frame():
    frames = np.full((1, 200, 200, 3), 255, np.uint8)
    corners = [(0.0, 0.0, 0.1, 0.1), (0.9, 0.9, 1.0, 1.0), (0.9, 0.0, 1.0, 0.1)]
    drawn = media.draw_boxes(frames, [corners], ["a very long phrase"] * 3)
    for box in corners:
        x, y = (int(value * 199) for value in box[:2])
        assert (drawn[0, max(0, y - 12) : y + 12, max(0, x - 60) : x + 60] != 255).any(-1).sum() > 300


def test_resize_published_is_bilinear_without_antialiasing():
    pixels = np.random.RandomState(0).randint(0, 255, (50, 70, 3)).astype(np.uint8)
    image = PIL.Image.fromarray(pixels)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    expected = torch.nn.functional.interpolate(tensor, (16, 32), mode="bilinear")[0].permute(1, 2, 0)
    published = np.asarray(media.resize(image, 16, 32, antialias=False))
    assert np.abs(published - expected.numpy()).max() <= 0.5
    smooth = torch.nn.functional.interpolate(tensor, (16, 32), mode="bilinear", antialias=True)[0].permute(1, 2, 0)
    assert np.abs(np.asarray(media.resize(image, 16, 32)) - smooth.numpy()).max() <= 1.5


def test_deep_gray_and_transparency_look_as_in_a_viewer(tmp_path):
    PIL.Image.fromarray(np.full((4, 4), 32896, np.uint16)).save(tmp_path / "deep.png")
    assert np.asarray(media.read_image(tmp_path / "deep.png")).mean() == 128
    PIL.Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert np.asarray(media.read_image(tmp_path / "clear.png")).min() == 255


@pytest.mark.parametrize("suffix", ["gif", "mp4"])
def test_a_single_frame_is_a_video_too(tmp_path, suffix):
    media.write_video(tmp_path / f"video.{suffix}", blocks(frames=1))
    assert (tmp_path / f"video.{suffix}").stat().st_size > 0


def test_exif_orientation_is_applied(tmp_path):
    image = PIL.Image.new("RGB", (40, 20))
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees to show
    image.save(tmp_path / "img.jpg", exif=exif)
    assert media.read_image(tmp_path / "img.jpg").size == (20, 40)


@pytest.mark.parametrize("read", [media.read_image, media.read_frame])
def test_only_the_documented_formats_are_tried(tmp_path, read):
    (tmp_path / "eps.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n%%EOF\n")
    for kind in ("tiff", "gif", "ico", "jpeg2000", "ppm"):
        PIL.Image.new("RGB", (16, 16)).save(tmp_path / f"{kind}.png", kind)
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(InputError, match=rf"{path.name}: cannot be read as an image \(cannot identify"):
            read(path)
    for kind in ("png", "jpeg", "webp", "bmp"):
        PIL.Image.new("RGB", (16, 16)).save(tmp_path / "img.any", kind)
        assert read(tmp_path / "img.any").size == (16, 16)


@pytest.mark.parametrize("read", [media.read_image, media.read_frame])
def test_images_and_frames_have_one_limit(tmp_path, read, monkeypatch):
    PIL.Image.new("RGB", (40, 30)).save(tmp_path / "img.png")
    monkeypatch.setattr("smcd.runtime.media.MAX_PIXELS", 1199)
    with pytest.raises(InputError, match="40 x 30 pixels are too many"):
        read(tmp_path / "img.png")


def test_strip_shows_rows_of_frames():
    video = blocks(frames=20)
    picture = media.strip(video, video, most=4, gap=2)
    assert picture.shape == (2 * 68, 4 * 68, 3)
    assert (picture[2:66, 2:66] == video[0]).all()
    assert (picture[70:134, -66:-2] == video[-1]).all()
