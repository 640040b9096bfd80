"""The sprites world: deterministic, exact, varied; and its files."""

import base64
import configparser
import io
import json
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from smcd.data.sprites import Sprites
from smcd.runtime.errors import InputError
from smcd.sprites.layouts import make_world, run_lengths, write_gligen, write_got10k, write_youtube_vis
from smcd.sprites.shapes import SHAPES, coverage
from smcd.sprites.world import BACKGROUNDS, COLORS, MOTIONS, WORLDS, World, boxes_of, make_clip

SIZE = 64


def test_a_clip_is_always_the_same_and_no_two_are():
    first, again, other, elsewhere = make_clip(3, 1), make_clip(3, 1), make_clip(3, 2), make_clip(4, 1)
    assert np.array_equal(first.frames, again.frames)
    assert first.caption == again.caption
    assert not np.array_equal(first.frames, other.frames)
    assert not np.array_equal(first.frames, elsewhere.frames)


@settings(max_examples=25, deadline=None)
@given(index=st.integers(0, 10_000))
def test_masks_boxes_and_covers_agree(index):
    clip = make_clip(0, index, num_frames=4, size=SIZE)
    assert clip.frames.shape == (4, SIZE, SIZE, 3)
    assert clip.masks.sum(1).max() <= 1  # a pixel shows one object
    for f in range(4):
        for n in range(len(clip.sprites)):
            rows, columns = np.nonzero(clip.masks[f, n])
            if clip.box_mask[f, n]:
                extent = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                assert (clip.boxes[f, n] * SIZE).tolist() == pytest.approx(extent)
            else:
                assert len(rows) < 12
                assert not clip.boxes[f, n].any()
    assert 0 <= clip.cover.min() <= clip.cover.max() <= 1


def test_an_object_has_its_color_where_its_mask_is():
    world = World(backgrounds=("plain",), objects=(1, 1))
    for index in range(10):
        clip = make_clip(1, index, 2, SIZE, world)
        inside = clip.frames[0][clip.masks[0, 0]].mean(0)
        assert np.abs(inside - COLORS[clip.sprites[0].color]).max() < 50


def test_the_first_frame_of_a_still_world_lasts():
    world = World(motions=("still",), turning=0, growing=1, drift=0)
    clip = make_clip(0, 0, 5, SIZE, world)
    assert (clip.frames == clip.frames[:1]).all()


def test_everything_occurs():
    clips = [make_clip(0, index, 8, 32) for index in range(150)]
    sprites = [sprite for clip in clips for sprite in clip.sprites]
    assert {sprite.shape for sprite in sprites} == set(SHAPES)
    assert {sprite.color for sprite in sprites} == set(COLORS)
    assert {len(clip.sprites) for clip in clips} == {1, 2, 3, 4}
    assert all(len({sprite.color for sprite in clip.sprites}) == len(clip.sprites) for clip in clips)
    motions = {sprite.motion for sprite in sprites}
    assert {"moving left", "moving right", "moving up", "moving down", "bouncing", "circling"} <= motions
    absent = [clip.box_mask.min() == 0 for clip in clips]
    assert any(absent)
    assert not all(absent)
    assert any(((clip.cover > 0.1) & (clip.cover < 0.9)).any() for clip in clips)  # objects cross


@pytest.mark.parametrize("motion", [motion for motion in MOTIONS if motion != "visit"])
def test_only_visits_leave_the_frame(motion):
    for index in range(20):
        for sprite in make_clip(0, index, 16, 32, World(motions=(motion,))).sprites:
            reach = 0.75 * sprite.radius[:, None]  # shapes lie in a disc, and touch its edge with corners only
            assert (sprite.center - reach).min() > -0.02
            assert (sprite.center + reach).max() < 1.02


def test_visits_come_back():
    clip = make_clip(0, 0, 9, SIZE, World(motions=("visit",), objects=(1, 1)))
    assert clip.box_mask[:, 0].tolist()[0] == clip.box_mask[:, 0].tolist()[-1] == 1
    assert clip.box_mask[4, 0] == 0


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_keep_their_area_under_rotation_and_outside_the_frame(shape):
    areas = []
    for angle, center in ((0, 50.0), (1.0, 50.0), (0, -500.0)):
        alpha, rows, columns, area = coverage(shape, np.array([center, 50.0]), 30, angle, 100)
        areas.append(area)
        assert alpha.shape == (rows.stop - rows.start, columns.stop - columns.start)
        assert alpha.size == 0 or alpha.sum() == pytest.approx(area, rel=1e-3)
    assert areas == pytest.approx([areas[0]] * 3, rel=0.03)
    assert 0.15 * np.pi * 900 < areas[0] < np.pi * 900


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_backgrounds_are_muted(background):
    clip = make_clip(0, 0, 2, 64, World(backgrounds=(background,), objects=(1, 1)))
    outside = clip.frames[0][~clip.masks[0, 0]].astype(int)
    assert 20 < outside.mean() < 235
    assert (outside.max(-1) - outside.min(-1)).mean() < 90


@given(arrays.arrays(bool, st.tuples(st.integers(1, 6), st.integers(1, 6))))
def test_run_lengths_are_cocos(mask):
    code = run_lengths(mask)
    values = [index % 2 for index, count in enumerate(code["counts"]) for _ in range(count)]
    assert np.array_equal(np.reshape(values, mask.shape, order="F"), mask)
    assert all(count > 0 for count in code["counts"][1:])


def test_boxes_of_nothing_are_zero():
    boxes, present = boxes_of(np.zeros((2, 5, 5), bool))
    assert not boxes.any()
    assert not present.any()


def test_got10k_layout(tmp_path):
    root = write_got10k(tmp_path, range(3), 0, 6, SIZE, World(motions=("visit",)), "val")
    assert root == tmp_path / "got10k" / "val"
    sequences = sorted(path.name for path in root.iterdir())
    assert sequences == [f"GOT-10k_Val_{index:06d}" for index in (1, 2, 3)]
    sequence = root / sequences[0]
    truth = np.loadtxt(sequence / "groundtruth.txt", delimiter=",")
    labels = {name: np.loadtxt(sequence / f"{name}.label") for name in ("absence", "cover", "cut_by_image")}
    assert truth.shape == (6, 4)
    assert all(values.shape == (6,) for values in labels.values())
    assert labels["cover"].max() <= 8
    assert (labels["cover"][labels["absence"] == 1] == 0).all()
    assert labels["absence"].sum() > 0
    assert [path.name for path in sorted(sequence.glob("*.jpg"))] == [f"{f:08d}.jpg" for f in range(1, 7)]
    parser = configparser.RawConfigParser()
    parser.read(sequence / "meta_info.ini")
    meta = dict(parser["METAINFO"])
    assert meta["resolution"] == "(64, 64)"
    assert {"url", "object_class", "motion_class", "major_class"} <= meta.keys()
    with pytest.raises(InputError, match="exists already"):
        write_got10k(tmp_path, range(1), 0, 6, SIZE, World(), "val")


def test_youtube_vis_layout(tmp_path):
    root = write_youtube_vis(tmp_path, range(3), 0, 6, SIZE, World())
    content = json.loads((root / "instances.json").read_text())
    captions = json.loads((tmp_path / "youvis" / "caption.json").read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    for video in content["videos"]:
        name = video["file_names"][0].split("/")[0]
        assert [f"{name}/{f * 5:05d}.jpg" for f in range(6)] == video["file_names"]
        assert all((root / "JPEGImages" / file).is_file() for file in video["file_names"])
        tracks = [track for track in content["annotations"] if track["video_id"] == video["id"]]
        assert all(names[track["category_id"]] in captions[name] for track in tracks)
        for track in tracks:
            for box, area, segmentation in zip(track["bboxes"], track["areas"], track["segmentations"], strict=True):
                assert (box is None) == (area is None) == (segmentation is None)
                if box is not None:
                    assert sum(segmentation["counts"][1::2]) == area <= box[2] * box[3]
    (tmp_path / "youvis" / "caption.json").rename(tmp_path / "kept.json")
    (tmp_path / "youvis" / "caption.json").write_text("[1]")
    with pytest.raises(InputError, match=r"caption.json: should be a JSON object"):
        write_youtube_vis(tmp_path, range(2), 0, 6, SIZE, World(), "valid")
    assert not (tmp_path / "youvis" / "valid").exists()
    (tmp_path / "kept.json").rename(tmp_path / "youvis" / "caption.json")
    write_youtube_vis(tmp_path, range(2), 0, 6, SIZE, World(), "valid")
    assert not (tmp_path / "youvis" / "valid" / "instances.json").exists()
    assert len(json.loads((tmp_path / "youvis" / "caption.json").read_text())) == 5


def test_gligen_layout(tmp_path):
    root = write_gligen(tmp_path, range(4), 0, SIZE, World())
    images = set()
    for name in ("flickr", "sbu", "gqa"):
        tsv = (root / name / "train-00.tsv").read_bytes()
        for number, offset in enumerate((root / name / "train-00.lineidx").read_text().split()):
            data_id, row = tsv[int(offset) :].split(b"\n", 1)[0].split(b"\t")
            assert int(data_id) == number
            content = json.loads(row)
            image = PIL.Image.open(io.BytesIO(base64.b64decode(content["image"])))
            assert image.size == (SIZE, SIZE)
            images.add(content["image"])
            for annotation in content["annos"]:
                ((start, end),) = annotation["tokens_positive"]
                color, shape = content["caption"][start:end].split()
                assert color in COLORS
                assert shape in SHAPES
                assert len(base64.b64decode(annotation["text_embedding_before"])) == 768 * 4
                x, y, w, h = annotation["bbox"]
                assert 0 <= x < x + w <= SIZE
                assert 0 <= y < y + h <= SIZE
    assert len(images) == 12


def test_world_settings():
    world = make_world(["objects=[2,2]", "shapes=[star,ring]", "speed=0.2"])
    assert (tuple(world.objects), tuple(world.shapes), world.speed) == ((2, 2), ("star", "ring"), 0.2)
    named = make_world(["built-in", "speed=0.2"])
    assert (tuple(named.backgrounds), named.speed) == (("plain", "gradient"), 0.2)
    for bad in (
        "shapes=[blob]",
        "objects=[0,1]",
        "objects=[3,2]",
        "color=red",
        "speed=fast",
        "speed=nan",
        "shapes=[]",
        "radius=[1,2]",
        "growing=0",
        "x=[1",
        "gentle",
        "objects=" + "[" * 2000,
        "objects=[&a[1,1],&b[*a,*a],*b]",  # aliases could expand without end
    ):
        with pytest.raises(InputError):
            make_world([bad])
    for misnamed in (["builtin"], ["speed=0.2", "built-in"]):
        with pytest.raises(InputError, match="nor does a world of that name stand first"):
            make_world(misnamed)


def test_videos_of_another_world_are_known_by_their_fingerprint():
    def fingerprint(world):
        return Sprites(1, size=32, world=world).video(0).fingerprint

    assert fingerprint(None) == fingerprint(make_world(["speed=0.6"]))
    assert fingerprint(WORLDS["built-in"]) == fingerprint(make_world(["built-in"])) != fingerprint(None)


def test_the_command(tmp_path):
    command = [sys.executable, "-m", "smcd.cli", "make-sprites", "--out", str(tmp_path), "--layout", "got10k"]
    command += ["--clips", "2"]
    done = subprocess.run([*command, "--size", "32", "--frames", "3"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    wrong = subprocess.run([*command, "--size", "0"], capture_output=True, text=True)
    assert wrong.stderr == "error: size is 0; it must be at least 16\n"
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 2
    assert "exists already" in again.stderr
