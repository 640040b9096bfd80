"""YouTube-VIS on its real layout: tracks, masks, captions, held-out videos, and what is refused."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from smcd.data.clips import Sampling, VideoClips
from smcd.data.youtube_vis import HELD_OUT, YouTubeVIS, box_of_mask, caption_of, held_out_names
from smcd.runtime.errors import InputError
from smcd.sprites.world import make_clip
from tests.data.conftest import CLIPS, FRAMES, SEED, SIZE, WORLD


def edit(data, change):
    """Change instances.json through `change(content)`."""
    path = data / "youvis" / "train" / "instances.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def by_caption(dataset):
    return {dataset.video(index).prompt: dataset.video(index) for index in range(len(dataset.names))}


def test_boxes_masks_and_prompts_are_those_of_the_world(shared_data):
    videos = by_caption(YouTubeVIS(shared_data))
    assert len(videos) == CLIPS
    for index in range(CLIPS):
        clip = make_clip(SEED, index, FRAMES, SIZE, WORLD)
        video = videos[clip.caption]
        assert video.phrases == [sprite.phrase for sprite in clip.sprites]
        assert np.array_equal(video.box_mask, clip.box_mask)
        assert np.abs(video.boxes - clip.boxes).max() < 1e-5


def test_boxes_from_masks_where_there_are_no_boxes(data, shared_data):
    def remove(content):
        for track in content["annotations"]:
            del track["bboxes"]

    edit(data, remove)
    from_masks, from_boxes = YouTubeVIS(data), YouTubeVIS(shared_data)
    for index in range(CLIPS):
        assert np.abs(from_masks.video(index).boxes - from_boxes.video(index).boxes).max() < 1e-5
        assert np.array_equal(from_masks.video(index).box_mask, from_boxes.video(index).box_mask)


def test_null_boxes_with_a_mask_come_from_the_mask(data, shared_data):
    def null(content):
        for track in content["annotations"]:
            track["bboxes"] = [None] * FRAMES

    edit(data, null)
    assert np.abs(YouTubeVIS(data).video(0).boxes - YouTubeVIS(shared_data).video(0).boxes).max() < 1e-5


def test_boxes_of_masks():
    assert box_of_mask({"counts": [0, 5, 4], "size": [3, 3]}, (3, 3), "here") == [0, 0, 2, 3]
    assert box_of_mask({"counts": b"054", "size": [3, 3]}, (3, 3), "here") == [0, 0, 2, 3]  # compressed
    assert box_of_mask({"counts": [9], "size": [3, 3]}, (3, 3), "here")[2:] == [0, 0]
    for counts, size in (([0, 50], [3, 3]), ([0, -5, 14], [3, 3]), ([0, 5, 4], [3, 4]), ("x", 3)):
        with pytest.raises(InputError, match="here: the segmentation is not a run-length code"):
            box_of_mask({"counts": counts, "size": size}, (3, 3), "here")


@settings(max_examples=50, deadline=None)
@given(points=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 30)), min_size=3, max_size=6))
def test_the_mask_of_a_polygon_lies_in_its_extent(points):
    polygon = [float(value) for point in points for value in point]
    left, top, width, height = coco.toBbox(coco.merge(coco.frPyObjects([polygon], 32, 42)))
    x, y, w, h = box_of_mask([polygon], (32, 42), "here")
    if width * height:
        assert x - 1 <= left
        assert y - 1 <= top
        assert left + width <= x + w + 1
        assert top + height <= y + h + 1


def test_polygons():
    triangle, far = [1, 2, 5.5, 2, 3, 8], [20, 1, 21, 1, 21, 4]
    assert box_of_mask([triangle], (32, 32), "here") == [1, 2, 4.5, 6]
    assert box_of_mask([triangle, far], (32, 32), "here") == [1, 1, 20, 7]
    assert box_of_mask([], (32, 32), "here")[2:] == [0, 0]
    for broken in (
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, 6, 7]],
        [1, 2, 3, 4, 5, 6],
        [["a"] * 6],
        [None],
        [[float("nan")] * 6],
    ):
        with pytest.raises(InputError, match="here: the segmentation is not a list of polygons"):
            box_of_mask(broken, (32, 32), "here")


def test_boxes_from_polygons_where_there_are_no_boxes(data, shared_data):
    def draw(content):
        for track in content["annotations"]:
            corners = [b and [b[0], b[1], b[0] + b[2], b[1], b[0] + b[2], b[1] + b[3]] for b in track.pop("bboxes")]
            track["segmentations"] = [[polygon] if polygon else [] for polygon in corners]

    edit(data, draw)
    from_polygons, from_boxes = YouTubeVIS(data), YouTubeVIS(shared_data)
    for index in range(CLIPS):
        assert np.abs(from_polygons.video(index).boxes - from_boxes.video(index).boxes).max() < 1e-5


def test_an_empty_mask_is_an_absent_object(data):
    empty = {"counts": [SIZE * SIZE], "size": [SIZE, SIZE]}
    boxes = [None, [0, 0, 0, 0], *[[1, 2, 30, 30]] * (FRAMES - 2)]
    edit(data, lambda c: c["annotations"][0].update(bboxes=boxes, segmentations=[empty] * FRAMES))
    videos = YouTubeVIS(data)
    masks = [videos.video(n).box_mask[:, 0] for n in range(CLIPS)]
    assert any(mask[:3].tolist() == [0, 0, 1] for mask in masks)


def test_frames_of_a_video(shared_data):
    dataset = YouTubeVIS(shared_data)
    prompts = {make_clip(SEED, n, FRAMES, SIZE, WORLD).caption: n for n in range(CLIPS)}
    clip = make_clip(SEED, prompts[dataset.video(2).prompt], FRAMES, SIZE, WORLD)
    image = np.asarray(dataset.images(2, [7], None)[0], dtype=float)
    errors = [np.abs(image - frame).mean() for frame in clip.frames]
    assert errors[7] == min(errors)


def test_captions_fall_back_to_the_categories(data):
    (data / "youvis" / "caption.json").unlink()
    video = YouTubeVIS(data).video(0)
    assert video.prompt == caption_of(video.phrases)
    assert caption_of(["dog"]) == "A dog."
    assert caption_of(["owl", "dog", "dog", "car"]) == "An owl, a dog and a car."


def test_captions_that_fit_no_video_are_told(data, caplog):
    (data / "youvis" / "caption.json").write_text('{"dog.mp4": "A dog."}')
    assert YouTubeVIS(data).video(0).prompt != "A dog."
    assert "caption.json: has a caption for none of the 6 videos (its first key is 'dog.mp4', a video" in caplog.text


@pytest.mark.parametrize("caption", ['["A dog."]', "5"])
def test_a_caption_that_is_none(data, caption):
    name = YouTubeVIS(data).names[2]
    (data / "youvis" / "caption.json").write_text(f'{{"{name}": {caption}}}')
    with pytest.raises(InputError, match=f"caption.json: the caption of {name} is .* not a text"):
        YouTubeVIS(data)
    assert list(YouTubeVIS(data, on_error="skip").dropped) == [name]


@pytest.mark.parametrize("name", ["ytvis_2021", "YouTube-VIS", "youtube_vis_2021"])
def test_the_folder_may_be_called_otherwise(data, name):
    (data / "youvis").rename(data / name)
    (data / name / "train" / "instances.json").rename(data / name / "train.json")
    assert len(YouTubeVIS(data).names) == CLIPS
    assert len(YouTubeVIS(data / name).names) == CLIPS


def test_held_out_videos(data):
    names = [f"{n:04x}" for n in range(2000)]
    chosen = held_out_names(names)
    assert len(chosen) == HELD_OUT
    assert chosen == held_out_names(reversed(names))
    assert held_out_names(names[:10]) == [min(names[:10], key=lambda n: hashlib.sha1(n.encode()).digest())]

    def repeat(content):  # 12 videos, so that one is held out
        for video in list(content["videos"]):
            copy = json.loads(json.dumps(video))
            copy["id"] += 100
            copy["file_names"] = [f"x{name}" for name in copy["file_names"]]
            content["videos"].append(copy)
            folder = data / "youvis" / "train" / "JPEGImages" / copy["file_names"][0].partition("/")[0]
            shutil.copytree(folder.with_name(folder.name[1:]), folder)
            for track in [t for t in content["annotations"] if t["video_id"] == video["id"]]:
                content["annotations"].append({**track, "video_id": copy["id"]})

    edit(data, repeat)
    parts = [set(YouTubeVIS(data, held_out).names) for held_out in ("exclude", "only", "include")]
    assert [len(part) for part in parts] == [11, 1, 12]
    assert parts[0] | parts[1] == parts[2]


def test_more_objects_than_slots(shared_data):
    dataset = YouTubeVIS(shared_data)
    index = max(range(CLIPS), key=lambda n: len(dataset.video(n).phrases))
    clips = VideoClips(dataset, Sampling(num_frames=4, height=16, width=16, max_objects=2))
    clip = clips.clip(index, np.random.default_rng(0))
    assert clip.phrases == dataset.video(index).phrases[:2]
    assert clip.boxes.shape == (4, 2, 4)


def set_in(key, number, value):
    def change(content):
        content["annotations"][number][key] = value

    return change


BREAKAGES = {
    "unknown category": (set_in("category_id", 0, 999), r"annotation 1: category_id 999 is unknown"),
    "NaN": (set_in("bboxes", 0, [[1, 2, float("nan"), 3]] * FRAMES), r"annotation 1 .*frame 0: \[1.* is not a box"),
    "negative": (set_in("bboxes", 0, [[1, 2, -3, 3]] * FRAMES), "is not a box"),
    "neither": (
        lambda c: [c["annotations"][0].pop(key) for key in ("bboxes", "segmentations")],
        'neither "bboxes" nor "segmentations"',
    ),
    "another length": (
        lambda c: [c["annotations"][0].__setitem__(k, c["annotations"][0][k][:5]) for k in ("bboxes", "segmentations")],
        r"annotation 1 .*has boxes for 5 frames, the video has 12",
    ),
    "broken masks": (
        lambda c: c["annotations"][0].update(bboxes=None, segmentations=[{"counts": [1, 2]}] * FRAMES),
        "not a run-length code",
    ),
    "always absent": (
        lambda c: [
            t.update(bboxes=[None] * FRAMES, segmentations=[None] * FRAMES)
            for t in c["annotations"]
            if t["video_id"] == 1
        ],
        "absent in all frames",
    ),
    "an endless size": (
        lambda c: c["videos"][0].update(width=float("inf")),
        r"video \w+: its size is inf x 48",
    ),
    "a category of the wrong kind": (set_in("category_id", 0, [1]), '"category_id" is .* of the wrong kind'),
    "boxes of the wrong kind": (set_in("bboxes", 0, 5), "\"bboxes\" is '5', of the wrong kind"),
    "no size": (lambda c: c["videos"][0].update(width=None), "\"width\" is 'None', of the wrong kind"),
    "no annotations": (
        lambda c: c.update(annotations=[t for t in c["annotations"] if t["video_id"] != 1]),
        "has no annotations",
    ),
}


def test_annotations_of_an_unknown_video_are_told(data, caplog):
    edit(data, lambda content: content["annotations"].append(content["annotations"][0] | {"video_id": 999}))
    assert len(YouTubeVIS(data).names) == CLIPS
    assert "1 annotations are left out: no video has their video_id (such as 999)" in caplog.text


def test_a_missing_frame_is_an_error_or_drops_its_video(data):
    name = YouTubeVIS(data).names[1]
    files = sorted((data / "youvis" / "train" / "JPEGImages" / name).iterdir())
    files[3].unlink()
    with pytest.raises(InputError, match=rf"{name}/{files[3].name}: is missing, and the annotations list it"):
        YouTubeVIS(data)
    dataset = YouTubeVIS(data, on_error="skip")
    assert list(dataset.dropped) == [name]


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_a_broken_video_is_an_error_or_dropped(data, breakage):
    change, message = BREAKAGES[breakage]
    edit(data, change)
    with pytest.raises(InputError, match=message):
        YouTubeVIS(data)
    dataset = YouTubeVIS(data, on_error="skip")
    assert len(dataset.names) == CLIPS - 1
    assert len(dataset.dropped) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"videos": [\n{"id": 1,', r"instances.json:2: is not JSON"),
        ("[]", "should be a JSON object"),
        ('{"videos": [{"id": 1, "file_names": ["a/0.jpg"]}], "categories": []}', 'has no "annotations"'),
        ('{"videos": [], "categories": [], "annotations": []}', "holds no videos"),
        ('{"videos": null, "categories": [], "annotations": []}', "\"videos\" is 'None', of the wrong kind"),
        ('{"videos": [], "categories": [{"id": [], "name": 1}]}', "category 0: \"id\" is '\\[\\]', of the wrong kind"),
        (
            '{"videos": [{"id": 1, "file_names": ["a/0"]}, {"id": 2, "file_names": ["a/1"]}], "categories": []}',
            "video 1 has the folder of another one, a",
        ),
        ('{"videos": [{"id": 1}, {"id": 1}], "categories": []}', "video 1: the id 1 was given before"),
        ('{"categories": [{"id": 1, "name": "a"}, {"id": 1}]}', "category 1: the id 1 was given before"),
        (
            '{"videos": [{"id": 1, "file_names": ["a/0.jpg", "b/1.jpg"]}], "categories": []}',
            r"video 0: its file_names are in several folders \(a, b\)",
        ),
        *(
            (
                json.dumps({"videos": [{"id": 1, "file_names": ["a/0.jpg", name]}], "categories": []}),
                "instances.json: video 0: .* is not the path of a file in its folder",
            )
            for name in ("/etc/passwd", "a/../../x.jpg", "C:/x.jpg", "a\\..\\x.jpg", "a/1.jpg\n", f"a/{'x' * 256}")
        ),
        ('{"videos": [{"id": 1}], "categories": [], "annotations": []}', 'video 0 has no "file_names"'),
    ],
)
def test_a_broken_file_names_its_line(data, text, message):
    (data / "youvis" / "train" / "instances.json").write_text(text)
    with pytest.raises(InputError, match=message):
        YouTubeVIS(data)
