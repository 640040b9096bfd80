"""smcd track: boxes from a video, into a project or into the annotations of training videos."""

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from smcd.cli import run
from smcd.config import TrackConfig, check
from smcd.customize.input_folder import read_folder
from smcd.data.video_folder import VideoFolder
from smcd.editor import track as tracking
from smcd.editor.track import track
from smcd.runtime.errors import InputError
from smcd.runtime.media import write_video
from smcd.tracking.box_trackers import CSRT
from tests.editor.conftest import png

LENGTH, WIDTH, HEIGHT = 12, 96, 48
TEXTURE = np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)


def start(f: int) -> int:
    return 4 + 5 * f


@pytest.fixture
def video(tmp_path) -> Path:
    """A patch that moves right."""
    frames = np.full((LENGTH, HEIGHT, WIDTH, 3), 40, np.uint8)
    for f, frame in enumerate(frames):
        frame[16:32, start(f) : start(f) + 16] = TEXTURE
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "patch.mp4", frames)
    return tmp_path / "videos" / "patch.mp4"


def config(video: Path, out: Path | None, **changes) -> TrackConfig:
    options = {"box": [4, 16, 20, 32], "object": "patch", "video_length": LENGTH} | changes
    found = TrackConfig(video=str(video), out=out and str(out), **options)
    check(found)
    return found


def test_the_path_becomes_a_project_with_few_key_frames(video, tmp_path):
    track(config(video, tmp_path / "out", tolerance=2.5))
    [item] = json.loads((tmp_path / "out" / "objects.json").read_text())
    assert item["phrase"] == "patch"
    assert len(item["boxes"]) < 5
    given = read_folder(tmp_path / "out", LENGTH, "A patch.")
    assert given.image.size == (WIDTH, HEIGHT)
    for f, [box] in enumerate(given.boxes):
        assert np.array(box) * np.array([WIDTH, HEIGHT] * 2) == pytest.approx([start(f), 16, start(f) + 16, 32], abs=4)


def test_another_object_is_added_and_the_same_one_replaced(video, tmp_path):
    out = tmp_path / "out"
    for name, box in (("patch", [4, 16, 20, 32]), ("corner", [0, 0, 30, 30]), ("patch", [5, 16, 20, 32])):
        track(config(video, out, object=name, box=box))
    objects = {item["phrase"]: item["boxes"]["0"] for item in json.loads((out / "objects.json").read_text())}
    assert objects == {"corner": [0, 0, 30, 30], "patch": [5, 16, 20, 32]}


def test_over_another_image_boxes_are_scaled_to_it(video, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "img.png").write_bytes(png(2 * WIDTH, HEIGHT))
    track(config(video, tmp_path / "out"))
    [item] = json.loads((tmp_path / "out" / "objects.json").read_text())
    assert item["boxes"]["0"] == [8, 16, 40, 32]


def test_a_long_motion_is_spread_over_the_new_video(video, tmp_path):
    track(config(video, tmp_path / "out", video_length=2, first=2, last=9, box=[14, 16, 30, 32]))
    [item] = json.loads((tmp_path / "out" / "objects.json").read_text())
    assert [box[0] for box in item["boxes"].values()] == pytest.approx([start(2), start(9)], abs=4)


def test_a_large_video_is_tracked_small_and_boxes_are_in_its_pixels(video, tmp_path, monkeypatch):
    monkeypatch.setattr(CSRT, "side", WIDTH // 2)
    track(config(video, tmp_path / "out"))
    found = read_folder(tmp_path / "out", LENGTH, "A patch.").boxes[-1][0]
    assert found[0] * WIDTH == pytest.approx(start(LENGTH - 1), abs=5)


class Finds:
    """A detector that knows the patch."""

    def __call__(self, frame, words):
        return np.array([4.0, 16, 20, 32]) if words == "patch" else None


def test_annotations_are_filled_and_go_on_where_they_stopped(video, tmp_path, monkeypatch, caplog):
    folder = video.parent
    (folder / "walk").mkdir()
    PIL.Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "walk" / "0.png")
    before = {"walk": {"caption": "Mine.", "objects": [{"phrase": "me", "boxes": {"0": [0, 0, 9, 9]}}]}}
    (folder / "annotations.json").write_text(json.dumps(before))
    monkeypatch.setattr(tracking, "load_models", lambda *_: (CSRT(), Finds()))
    track(config(folder, None, annotate=True, find=["patch", "dog"], box=[], object=None))
    found = json.loads((folder / "annotations.json").read_text())
    assert found["walk"] == before["walk"]
    dataset = VideoFolder(folder, min_frames=1)
    assert dataset.names == ["patch.mp4", "walk"]
    assert dataset.video(0).phrases == ["patch"]
    assert dataset.video(0).boxes[-1, 0, 0] * WIDTH == pytest.approx(start(LENGTH - 1), abs=4)


def test_what_is_not_found_is_said(video, tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "load_models", lambda *_: (None, Finds()))
    with pytest.raises(InputError, match="no dog is found in frame 0: use other words, or --box"):
        track(config(video, tmp_path / "out", find=["patch", "dog"], box=[], object=None))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"out": None}, "--out FOLDER"),
        ({"annotate": True}, "--out FOLDER"),
        ({"box": [], "object": None}, "draw a box"),
        ({"find": ["cat"]}, "draw a box"),
        ({"box": [1, 2, 3]}, "x1,y1,x2,y2"),
        ({"box": [5, 5, 1, 9]}, "x2 > x1"),
        ({"object": None}, "go together"),
        ({"out": None, "annotate": True}, "--annotate is for many videos"),
        ({"tolerance": -1}, "tolerance is -1"),
        ({"first": 50}, "has 12 frames: --first 50 lies after"),
        ({"box": [200, 200, 300, 300]}, "nothing can be followed"),
        ({"video": "nowhere.mp4"}, "nowhere.mp4"),
        ({"sam2": "no/where"}, "no/where cannot be loaded"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(video, tmp_path, monkeypatch, changes, message):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    out = changes.pop("out", tmp_path / "out")
    with pytest.raises(InputError) as error:
        track(config(changes.pop("video", video), out, **changes))
    assert message in str(error.value)
    assert not (tmp_path / "out").exists()


def test_as_a_command(video, tmp_path):
    arguments = ["--box", "4,16,20,32", "--object", "patch", "--out", str(tmp_path / "out")]
    run("track", [str(video), *arguments], "smcd track")
    assert len(read_folder(tmp_path / "out", 8, "A patch.").boxes) == 8
