"""A user's own videos: files and folders of frames, key frames, and what is refused."""

import json

import numpy as np
import PIL.Image
import pytest

from smcd.data.clips import Sampling, VideoClips
from smcd.data.video_folder import VideoFolder
from smcd.runtime.errors import InputError
from smcd.runtime.media import write_video

LENGTH, WIDTH, HEIGHT = 10, 64, 48


def frames():
    """A white square that moves right on dark gray."""
    video = np.full((LENGTH, HEIGHT, WIDTH, 3), 40, np.uint8)
    for f in range(LENGTH):
        video[f, 16:32, 4 * f : 4 * f + 16] = 230
    return video


OBJECTS = [{"phrase": "white square", "boxes": {"0": [0, 16, 16, 32], "9": [36, 16, 52, 32]}}]


@pytest.fixture
def folder(tmp_path):
    for suffix in (".mp4", ".gif"):
        write_video(tmp_path / f"a{suffix}", frames())
    (tmp_path / "walk").mkdir()
    for f, frame in enumerate(frames()):
        PIL.Image.fromarray(frame).save(tmp_path / "walk" / f"frame_{f}.png")  # 10 would come after 1 by name
    names = ("a.mp4", "a.gif", "walk")
    write(tmp_path, {name: {"caption": f"From {name}.", "objects": OBJECTS} for name in names})
    return tmp_path


def write(folder, content):
    (folder / "annotations.json").write_text(json.dumps(content))


def test_all_kinds_give_the_same_clips(folder):
    dataset = VideoFolder(folder)
    assert dataset.names == ["a.gif", "a.mp4", "walk"]
    for index, name in enumerate(dataset.names):
        video = dataset.video(index)
        assert video.prompt == f"From {name}."
        assert video.phrases == ["white square"]
        for f in range(LENGTH):
            assert video.boxes[f, 0] == pytest.approx(
                np.array([4 * f, 16, 4 * f + 16, 32]) / [WIDTH, HEIGHT, WIDTH, HEIGHT]
            )
        images = dataset.images(index, [3, 0, 9], None)
        for image, f in zip(images, [3, 0, 9], strict=True):
            assert np.abs(np.asarray(image, float) - frames()[f]).mean() < 4


def test_frames_of_a_folder_come_in_the_order_of_their_numbers(tmp_path):
    (tmp_path / "walk").mkdir()
    for f in range(12):
        PIL.Image.fromarray(np.full((8, 8, 3), 20 * f, np.uint8)).save(tmp_path / "walk" / f"{f}.png")
        (tmp_path / "walk" / f"._{f}.png").write_bytes(b"")  # macOS hides such files beside those that it copies
    write(tmp_path, {"walk": {"objects": [{"phrase": "a", "boxes": {"0": [0, 0, 4, 4]}}]}})
    shades = [np.asarray(image).mean() for image in VideoFolder(tmp_path).images(0, range(12), None)]
    assert shades == [20 * f for f in range(12)]


def test_phrases_are_the_prompt_where_there_is_no_caption(folder):
    objects = [*OBJECTS, {"phrase": "dog", "boxes": {"2": [0, 0, 9, 9]}}]
    write(folder, {"walk": {"objects": objects}})
    video = VideoFolder(folder).video(0)
    assert video.prompt == "A white square and a dog."
    assert video.box_mask[:, 1].tolist() == [0, 0] + [1] * 8


def test_clips_with_stride_and_start(folder):
    clips = VideoClips(VideoFolder(folder), Sampling(3, 24, 32, 2, stride=3, start=2))
    clip = clips.clip(2, np.random.default_rng(0))
    assert clip.name.endswith("walk@2")
    assert clip.frames.shape == (3, 24, 32, 3)
    for row, f in enumerate((2, 5, 8)):
        assert clip.boxes[row, 0, 0] == pytest.approx(4 * f / WIDTH)
        columns = np.nonzero(clip.frames[row, 12, :, 0].numpy() > 127)[0]
        assert columns.min() == pytest.approx(4 * f / 2, abs=1)


def test_short_videos_are_dropped(folder):
    dataset = VideoFolder(folder, min_frames=LENGTH + 1)
    assert dataset.names == []
    assert len(dataset.dropped) == 3


BAD = {
    "no such file": ({"b.mp4": {"objects": OBJECTS}}, r"b.mp4: .*No such file"),
    "an absolute path": ({__file__: {"objects": OBJECTS}}, "is not the path of a file in its folder"),
    "another folder": ({"walk/../a.mp4": {"objects": OBJECTS}}, "'walk/../a.mp4' is not the path of a file"),
    "no objects": ({"a.mp4": {}}, r'a.mp4: needs "objects"'),
    "empty objects": ({"a.mp4": {"objects": []}}, r"a.mp4: should be a list of objects"),
    "unknown key": ({"a.mp4": {"objects": OBJECTS, "prompt": "x"}}, 'unknown key "prompt"'),
    "frame beyond the end": (
        {"a.mp4": {"objects": [{"phrase": "x", "boxes": {"10": [0, 0, 5, 5]}}]}},
        "frame 10 is beyond the last frame, 9",
    ),
    "NaN": ({"a.mp4": {"objects": [{"phrase": "x", "boxes": {"0": [0, 0, float("nan"), 5]}}]}}, "object 1 .*frame 0: "),
    "a caption that is none": ({"a.mp4": {"objects": OBJECTS, "caption": 5}}, "the caption is 5, not a text"),
    "a list": ([], "should be a JSON object"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_annotations(folder, case):
    content, message = BAD[case]
    write(folder, content)
    with pytest.raises(InputError, match=message):
        VideoFolder(folder)


def test_broken_videos_are_errors_or_dropped(folder):
    for name in ("a.mp4", "a.gif"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:40])
        with pytest.raises(InputError, match=rf"{name}: cannot be read as a video"):
            VideoFolder(folder)
        assert list(VideoFolder(folder, on_error="skip").dropped) == [name]
        (folder / name).write_bytes(content)
    (folder / "annotations.json").unlink()
    with pytest.raises(InputError, match=r"annotations.json: "):
        VideoFolder(folder)


def test_damaged_frames_are_found_if_all_are_asked_for(folder):
    picture = folder / "walk" / "frame_5.png"
    for damage, message in (
        (lambda: picture.write_bytes(picture.read_bytes()[:-30]), r"frame_5\.png: cannot be read"),
        (lambda: PIL.Image.new("RGB", (32, 24)).save(picture), r"frame_5\.png: 32 x 24 pixels; the first frame has 64"),
    ):
        damage()
        assert VideoFolder(folder).names == ["a.gif", "a.mp4", "walk"]
        with pytest.raises(InputError, match=message):
            VideoFolder(folder, every_frame=True)
        assert list(VideoFolder(folder, on_error="skip", every_frame=True).dropped) == ["walk"]


def test_an_empty_folder_of_frames(folder):
    (folder / "none").mkdir()
    write(folder, {"none": {"objects": OBJECTS}})
    with pytest.raises(InputError, match="holds no frames"):
        VideoFolder(folder)
