"""Manifests and truths: what is written is read, and what does not fit is refused."""

import dataclasses
import json

import numpy as np
import pytest

from smcd.evaluation.metrics.manifest import Clip, Manifest, frames_sha256, read_manifest
from smcd.evaluation.metrics.truth import read_truth
from smcd.runtime.errors import InputError
from smcd.runtime.media import write_frames
from tests.evaluation.metrics.layout import manifest_of, sprite_clips, write_predictions, write_truth


@pytest.fixture(scope="module")
def clips():
    return sprite_clips(2, size=32, frames=5)


@pytest.fixture
def manifest(clips) -> Manifest:
    return manifest_of(clips)


def test_it_is_read_as_it_was_written(manifest, tmp_path):
    manifest.write(tmp_path / "manifest.json")
    assert read_manifest(tmp_path / "manifest.json") == manifest
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_the_hash_is_of_the_content_alone(manifest, tmp_path):
    manifest.write(tmp_path / "a.json")
    content = json.loads((tmp_path / "a.json").read_text())
    (tmp_path / "b.json").write_text(json.dumps(dict(reversed(content.items()))))
    assert read_manifest(tmp_path / "b.json").sha256 == manifest.sha256
    assert dataclasses.replace(manifest, clips=manifest.clips[:1]).sha256 != manifest.sha256
    assert dataclasses.replace(manifest, conventions={"frames": "start 1"}).sha256 != manifest.sha256


def test_pixel_boxes(manifest):
    clip = dataclasses.replace(
        manifest.clips[0], frames=[0, 3], phrases=["a"], classes=["a"], boxes=[[[0, 0.5, 0.25, 1]], [None]], cover=None
    )
    boxes = clip.pixel_boxes(32, 64)
    assert boxes[0].tolist() == [[0, 16, 16, 32]]
    assert np.isnan(boxes[1]).all()
    without = dataclasses.replace(clip, phrases=[], classes=[], boxes=[[], []])
    assert without.pixel_boxes(32, 64).shape == (2, 0, 4)


BAD_NAMES = [
    *("../x", "/x", "a/b", "a\\b", "C:x", "", "..", ".x", "x.", "x ", "a*b", "a?", "a\nb", "\x1b[2J", "x" * 201),
    *("report", "Report", "manifest.json", "config.yaml", "seed_33", "nul.txt"),
]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *(({"sequence": name}, "cannot name a clip") for name in BAD_NAMES),
        ({"frames": [0]}, "at least 2"),
        ({"classes": []}, "0 classes for 1 phrases"),
        ({"boxes": [[[0, 0, 1, 1]]]}, "one per frame"),
        ({"boxes": [[[0, 0, 1, 1]], []]}, "one per phrase"),
        ({"boxes": [[[0, 0, 1.2, 1]], [None]]}, "frame 0: .* is not a box"),
        ({"boxes": [[None], [[0.5, 0, 0.5, 1]]]}, "frame 1: .* is not a box"),
        ({"boxes": [[None], [[float("nan"), 0, 0.5, 1]]]}, "is not a box"),
        ({"boxes": [[None], ["none"]]}, "is not a box"),
        ({"cover": [[8]]}, "cover should be 2 lists"),
    ],
)
def test_clips_that_do_not_fit(change, message):
    fine = {"sequence": "a", "frames": [0, 1], "prompt": "", "phrases": ["x"], "classes": ["x"]}
    fine |= {"boxes": [[None], [None]], "frames_sha256": ""}
    Clip(**fine)
    with pytest.raises(InputError, match=message):
        Clip(**fine | change)


def test_files_that_are_no_manifests(manifest, tmp_path):
    path = tmp_path / "manifest.json"
    for text, message in (("", "is not JSON"), ("[]", "is no manifest"), ('{"format": "x"}', "is no manifest")):
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            read_manifest(path)
    manifest.write(path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"height": 64}))
    with pytest.raises(InputError, match="was changed after it was made"):
        read_manifest(path)
    path.write_text(json.dumps({name: value for name, value in content.items() if name != "width"}))
    with pytest.raises(InputError, match=r"manifest.json: width: Field required"):
        read_manifest(path)
    path.write_text(json.dumps(content | {"clips": content["clips"] * 2}))
    with pytest.raises(InputError, match="same name: sprite_000, sprite_001"):
        read_manifest(path)
    shouted = [content["clips"][0], content["clips"][0] | {"sequence": "SPRITE_000"}]
    path.write_text(json.dumps(content | {"clips": shouted}))
    with pytest.raises(InputError, match="same name: sprite_000"):
        read_manifest(path)
    path.write_text(json.dumps(content | {"clips": []}))
    with pytest.raises(InputError, match="no clip in it"):
        read_manifest(path)
    path.write_text(json.dumps(content | {"mine": 1}))
    assert read_manifest(path) == manifest  # what is not declared is not read, and not part of the hash
    with pytest.raises(InputError, match=r"other\.json: "):
        read_manifest(tmp_path / "other.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"height": 0}, "height: Input should be greater than or equal to 1"),
        ({"height": 32.0}, "height: Input should be a valid integer"),
        ({"height": True}, "height: Input should be a valid integer"),
        ({"dataset": "x" * 10_000}, "dataset: String should have at most 300 characters"),
        ({"conventions": {"a": 1}}, "conventions.a: Input should be a valid string"),
        ({"conventions": {str(n): "" for n in range(101)}}, "conventions: Dictionary should have at most 100"),
        ({"clips": {}}, "clips: Input should be a valid list"),
        ({"clips": [None]}, "clips.0: "),
        ({"clips": 0}, "clips: Input should be a valid list"),
        ({"frames": [0, -1, 2, 3, 4]}, "clips.0.frames.1: Input should be greater than or equal to 0"),
        ({"phrases": [1]}, "clips.0.phrases.0: Input should be a valid string"),
        ({"boxes": 5}, "clips.0.boxes: Input should be a valid list"),
        ({"boxes": [[[0, 0, "1", 1]]]}, r"clips.0.boxes.0.0.2.*: Input should be a valid integer"),
        ({"cover": [[True]]}, r"clips.0.cover.0.0.*: Input should be a valid integer"),
    ],
)
def test_entries_of_another_type_or_out_of_range(manifest, tmp_path, change, message):
    path = tmp_path / "manifest.json"
    manifest.write(path)
    content = json.loads(path.read_text())
    where = content["clips"][0] if change.keys() & content["clips"][0].keys() else content
    where |= change
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message) as error:
        read_manifest(path)
    assert "\n" not in str(error.value)


def test_frames_hash_is_of_shape_and_pixels():
    frames = np.zeros((2, 4, 6, 3), np.uint8)
    assert frames_sha256(frames) == frames_sha256(frames[::-1])
    assert frames_sha256(frames) != frames_sha256(frames.reshape(2, 6, 4, 3))
    assert frames_sha256(frames) != frames_sha256(frames + np.uint8(1))


def test_truth_of_a_folder_without_a_manifest(clips, tmp_path):
    truth = read_truth(write_truth(tmp_path, clips, with_manifest=False))
    expected = manifest_of(clips)
    assert [clip.sequence for clip in truth.manifest.clips] == list(clips)
    for clip, other in zip(truth.manifest.clips, expected.clips, strict=True):
        assert (clip.prompt, clip.frames_sha256) == (other.prompt, other.frames_sha256)
        np.testing.assert_allclose(clip.pixel_boxes(32, 32), other.pixel_boxes(32, 32), atol=1e-4)
    np.testing.assert_array_equal(truth.videos.read("sprite_000"), clips["sprite_000"].frames)


def test_boxes_padded_to_eight_as_published(clips, tmp_path):
    write_truth(tmp_path, clips, with_manifest=False)
    for path in tmp_path.glob("*/box_*.txt"):
        path.write_text(path.read_text() + "0.0,0.0,0.0,0.0\n" * 6)
    truth = read_truth(tmp_path)
    assert [len(clip.phrases) for clip in truth.manifest.clips] == [len(clip.sprites) for clip in clips.values()]


@pytest.mark.parametrize("text", ["0,0,1\n", "0,0,1,a\n", "nan,0,1,1\n"])
def test_broken_box_files(clips, tmp_path, text):
    path = write_truth(tmp_path, clips, with_manifest=False) / "sprite_000" / "box_1.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=r"box_1\.txt:1: "):
        read_truth(tmp_path)
    path.unlink()
    with pytest.raises(InputError, match=r"box_1\.txt: is missing"):
        read_truth(tmp_path)


def test_where_the_true_frames_are_found(clips, manifest, tmp_path):
    truth = write_truth(tmp_path / "truth", clips)
    assert read_truth(truth).videos.root == truth
    assert read_truth(truth / "manifest.json").videos.root == truth
    (tmp_path / "alone").mkdir()
    manifest.write(tmp_path / "alone" / "manifest.json")
    predictions = write_predictions(tmp_path / "pred", {name: clip.frames for name, clip in clips.items()})
    assert read_truth(tmp_path / "alone", predictions).videos is None
    assert read_truth(tmp_path / "alone", truth).videos.root == truth  # the published layout holds both
    seeds = tmp_path / "seeds"  # an evaluation with several seeds
    for seed in (33, 34):
        write_truth(seeds / f"seed_{seed}", clips, with_manifest=False)
    manifest.write(seeds / "manifest.json")
    assert read_truth(seeds, predictions).videos.root == read_truth(seeds).videos.root == seeds / "seed_33"
    plain = tmp_path / "plain"  # images directly in a clip's folder, beside a manifest: whose are they?
    for name, clip in clips.items():
        write_frames(plain / name, "frame", clip.frames)
    manifest.write(plain / "manifest.json")
    assert read_truth(plain / "manifest.json", truth).videos.root == plain
    assert read_truth(plain / "manifest.json", tmp_path / "pred" / ".." / "plain").videos is None
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no video in it"):
        read_truth(tmp_path / "empty")
