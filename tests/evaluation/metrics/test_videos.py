"""Anyone's videos: every layout is found, and what is wrong is named."""

import logging

import numpy as np
import pytest

from smcd.evaluation.metrics.videos import find_videos, require_all, seeds_of
from smcd.runtime.errors import InputError
from smcd.runtime.media import write_frames, write_image, write_video


@pytest.fixture
def frames() -> np.ndarray:
    """12 frames, so that frame 10 would come before frame 2 in the order of names; smooth, as mp4 wants it."""
    video = np.zeros((12, 32, 48, 3), np.uint8)
    video[...] = 20 * np.arange(12)[:, None, None, None]
    video[:, :, :24, 0] = 200
    return video


def test_layouts(tmp_path, frames, caplog):
    write_frames(tmp_path / "published" / "pred_img", "pred_img", frames)
    write_frames(tmp_path / "published" / "pred_box_img", "pred_box_img", frames[:3])
    (tmp_path / "plain").mkdir()
    for f, frame in enumerate(frames):
        write_image(tmp_path / "plain" / f"{f}.png", frame)
    write_video(tmp_path / "film.mp4", frames)
    write_video(tmp_path / "anim.gif", frames)
    (tmp_path / "film_inside").mkdir()
    write_video(tmp_path / "film_inside" / "pred_video.mp4", frames)
    (tmp_path / "notes.txt").write_text("")
    with caplog.at_level(logging.WARNING):
        videos = find_videos(tmp_path, "pred")
    assert sorted(videos.sources) == ["anim", "film", "film_inside", "plain", "published"]
    assert videos.formats() == {"gif": 1, "mp4": 2, "png": 2}
    assert "1 clips are GIFs" in caplog.text
    for name in ("published", "plain"):
        np.testing.assert_array_equal(videos.read(name), frames)
    for name in ("film", "film_inside", "anim"):
        read = videos.read(name, frames.shape[:3])
        assert np.abs(read[:, 8::16, 8::16].astype(int) - frames[:, 8::16, 8::16]).max() < 20


def test_png_comes_before_mp4_before_gif(tmp_path, frames):
    for end in ("gif", "mp4"):
        write_video(tmp_path / f"a.{end}", frames)
    assert find_videos(tmp_path, "pred").formats() == {"mp4": 1}
    write_frames(tmp_path / "a", "frame", frames)
    assert find_videos(tmp_path, "pred").formats() == {"png": 1}


@pytest.mark.parametrize("suffix", [".MP4", ".mov", ".webm", ".AVI", ".mkv"])
def test_every_kind_of_video_file_is_found(tmp_path, frames, suffix):
    (tmp_path / "inside").mkdir()
    for name in ("a", "inside/pred_video"):
        write_video(tmp_path / "x.mp4", frames)  # what a file holds counts, not what it is called
        (tmp_path / "x.mp4").rename((tmp_path / name).with_suffix(suffix))
        write_video((tmp_path / name).with_suffix(".gif"), frames[:1])
    videos = find_videos(tmp_path, "pred", ["a", "inside"])
    assert videos.formats() == {suffix[1:].lower(): 2}
    assert len(videos.read("a")) == len(videos.read("inside")) == 12


def test_truth_and_predictions_in_one_folder(tmp_path, frames):
    write_frames(tmp_path / "a" / "pred_img", "pred_img", frames)
    write_frames(tmp_path / "a" / "gt_img", "gt_img", frames[::-1])
    np.testing.assert_array_equal(find_videos(tmp_path, "gt").read("a"), frames[::-1])
    np.testing.assert_array_equal(find_videos(tmp_path, "pred").read("a"), frames)


def test_a_single_frame_gif(tmp_path, frames):
    write_video(tmp_path / "a.gif", frames[:1])
    assert find_videos(tmp_path, "pred").read("a").shape == (1, 32, 48, 3)


def test_what_cannot_be_read(tmp_path, frames):
    write_frames(tmp_path / "sizes", "x", frames[:2])
    write_image(tmp_path / "sizes" / "x_2.png", frames[0, :16])
    write_frames(tmp_path / "broken", "x", frames[:2])
    (tmp_path / "broken" / "x_1.png").write_bytes((tmp_path / "broken" / "x_1.png").read_bytes()[:60])
    (tmp_path / "film.mp4").write_bytes(b"no video")
    (tmp_path / "anim.gif").write_bytes(b"no video")
    videos = find_videos(tmp_path, "pred")
    for name, message in (
        ("sizes", "frames of different sizes .48 x 16, 48 x 32."),
        ("broken", r"x_1\.png: cannot be read"),
        ("film", r"film\.mp4: cannot be read as a video"),
        ("anim", r"anim\.gif: cannot be read as a video"),
    ):
        with pytest.raises(InputError, match=message):
            videos.read(name)
    with pytest.raises(InputError, match="no such folder"):
        find_videos(tmp_path / "none", "pred")


def test_another_size_or_count(tmp_path, frames):
    write_frames(tmp_path / "a", "x", frames)
    videos = find_videos(tmp_path, "pred")
    with pytest.raises(InputError, match="12 frames of 48 x 32 pixels; it should be 8 of 48 x 32"):
        videos.read("a", (8, 32, 48))
    with pytest.raises(InputError, match="it should be 12 of 64 x 32"):
        videos.read("a", (12, 32, 64))


@pytest.mark.parametrize("name", ["a", "b.gif", "c.mp4"])
def test_what_does_not_fit_is_refused_before_it_is_read(tmp_path, frames, name, monkeypatch):
    if name == "a":
        write_frames(tmp_path / "a", "x", frames)
    else:
        write_video(tmp_path / name, frames)
    for reader in ("VideoFile", "_Images"):
        monkeypatch.setattr(f"smcd.evaluation.metrics.videos.{reader}.read", lambda *_: pytest.fail("was read"))
    for like, wanted in (((8, 32, 48), "8 of 48 x 32"), ((12, 32, 64), "12 of 64 x 32")):
        with pytest.raises(InputError, match=f"12 frames of 48 x 32 pixels; it should be {wanted}"):
            find_videos(tmp_path, "pred").read(name[0], like)


def test_what_lies_there_instead_is_named(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "frames.zip").write_bytes(b"")
    for sequences, message in (
        (["a"], r"a holds frames\.zip, and frames are images or \.mp4, "),
        (["b"], r"none of the 1 clips is there .looked for b.; .* holds a, and frames are"),
    ):
        with pytest.raises(InputError, match=message):
            require_all(find_videos(tmp_path, "pred", sequences), sequences, allow_partial=False)


def test_missing_clips_are_listed(tmp_path, frames, caplog):
    write_frames(tmp_path / "a", "x", frames[:1])
    wanted = ["a", *(f"b{n:02d}" for n in range(12))]
    videos = find_videos(tmp_path, "pred", wanted)
    with pytest.raises(InputError, match=r"12 of 13 clips are missing: b00, .*, b09 and 2 more; .*--allow_partial"):
        require_all(videos, wanted, allow_partial=False)
    with caplog.at_level(logging.WARNING):
        assert require_all(videos, wanted, allow_partial=True) == ["a"]
    assert "scoring 1 of 13 clips" in caplog.text
    with pytest.raises(InputError, match="none of the 2 clips is there"):
        require_all(videos, ["x", "y"], allow_partial=True)


def test_seeds(tmp_path):
    assert seeds_of(tmp_path) == {None: tmp_path}
    for name in ("seed_34", "seed_33", "seedling"):
        (tmp_path / name).mkdir()
    assert seeds_of(tmp_path) == {33: tmp_path / "seed_33", 34: tmp_path / "seed_34"}
