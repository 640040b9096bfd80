"""The evaluation of sprites models: its scenes, its table, and what a perfect or a still video would score."""

import json
from dataclasses import replace

import imageio.v3 as imageio
import numpy as np
import pytest
from compare_samplers import compare_samplers
from evaluate_sprites import Options, evaluate, holds
from sprites_scenes import SceneOptions, along, crossing, held_out, measure, shifted, spiral, summary, zigzag

from smcd.config import SamplingConfig
from smcd.runtime.errors import InputError
from smcd.sprites.layouts import make_world
from smcd.sprites.tiny import tiny_pipeline
from smcd.sprites.world import WORLDS
from tests.conftest import open_gates

SETTINGS = "backgrounds=[plain,gradient] objects=[1,2] radius=[0.14,0.2] motions=[line,arc] speed=0.45"
WORLD = make_world(SETTINGS.split())
SHAPE = (8, 64, WORLD)


def centers(scene, n=0):
    return (scene.boxes[:, n, :2] + scene.boxes[:, n, 2:]) / 2


def test_objects_follow_the_paths_that_they_are_given():
    for path in (spiral, zigzag):
        for scene in along(path, 3, 5, *SHAPE):
            assert len(scene.phrases) == 1
            assert np.abs(centers(scene) - path(np.linspace(0, 1, 8))).max() < 0.06  # of stars and triangles too


def test_objects_cross():
    for scene in crossing(3, 5, *SHAPE):
        assert (np.diff(centers(scene, 0)[[0, -1], 0]) > 0.3).all()
        assert (np.diff(centers(scene, 1)[[0, -1], 0]) < -0.3).all()


def test_boxes_that_contradict_the_first_frame_a_little():
    scenes = held_out(5, 4, *SHAPE)
    for scene, moved in zip(scenes, shifted(scenes), strict=True):
        assert moved.frames is scene.frames
        assert 0 < np.nanmax(np.abs(moved.boxes - scene.boxes)) <= 0.0801
        assert np.nanmin(moved.boxes) >= 0
        assert np.nanmax(moved.boxes) <= 1


def test_phrases_are_held_by_their_own_boxes_only():
    scenes = held_out(6, 10, 8, 64, replace(WORLD, objects=(2, 2)))
    apart = [scene for scene in scenes if np.linalg.norm(centers(scene, 0)[0] - centers(scene, 1)[0]) > 0.35]
    assert apart
    for scene in apart:
        assert holds(scene, scene.frames, WORLD)
        swapped = replace(scene, phrases=scene.phrases[::-1], colors=scene.colors[::-1])
        assert not holds(swapped, scene.frames, WORLD)


def test_the_truth_keeps_all_and_a_still_video_little():
    world = WORLDS["built-in"]
    scenes = held_out(7, 12, 8, 64, world)
    truth = summary([measure(scene.frames, scene.clip, world) for scene in scenes])
    assert truth["mask_iou"] > 0.95
    assert truth["shape_kept"] == truth["color_kept"] == truth["frames_with_all"] == 1
    assert truth["psnr_clip"] == truth["psnr_ground"] == 100
    still = [np.repeat(scene.frames[:1], 8, axis=0) for scene in scenes]
    numbers = summary([measure(video, scene.clip, world) for scene, video in zip(scenes, still, strict=True)])
    assert numbers["mask_iou"] < 0.6
    assert numbers["frames_with_all"] < 0.6
    assert numbers["psnr_clip"] < 25


def test_a_shape_is_told_wherever_it_is_and_however_large():
    world = replace(WORLDS["built-in"], objects=(1, 1))
    for true in world.shapes:
        for drawn in world.shapes:
            [scene] = held_out(8, 1, 4, 64, replace(world, shapes=(true,)))
            smaller = replace(world, shapes=(drawn,), radius=(0.14, 0.15))
            [other] = held_out(8, 1, 4, 64, smaller)  # the same color and angle
            video = np.roll(other.frames, 2, axis=1)
            assert summary([measure(video, scene.clip, world)])["shape_kept"] == (drawn == true)


def test_the_table_and_the_pictures(tmp_path):
    open_gates(tiny_pipeline()).save_pretrained(tmp_path / "model")
    open_gates(tiny_pipeline(image_gate=False, image_concat=False)).save_pretrained(tmp_path / "stage1")
    config = Options(
        trained_ckpt_path=str(tmp_path / "model"),
        stage1_ckpt_path=str(tmp_path / "stage1"),
        validation_data=SamplingConfig(4, 32, 32, 2),
        out=str(tmp_path / "out"),
        clips=2,
        world=SETTINGS,
        batch_size=32,
    )
    text = evaluate(config)
    assert (tmp_path / "out" / "table.md").read_text() == text + "\n"
    content = json.loads((tmp_path / "out" / "table.json").read_text())
    rows = {row["name"]: row for row in content["rows"]}
    assert rows["the truth"]["ao"] > 0.75  # the tracker's ceiling, at 32 x 32
    assert rows["the truth"]["psnr"] == rows["static first frame"]["psnr"] == 100
    assert rows["static first frame"]["ao"] < rows["the truth"]["ao"]
    assert rows["the truth"]["measures"]["psnr_clip"] == 100
    assert "| another picture in both | 0.01 |" in text  # the diagnosis
    assert rows["the model"] != rows["image dropped"] | {"name": "the model"}
    assert content["binding"].keys() == {"phrases as given", "phrases swapped"}
    assert imageio.imread(tmp_path / "out" / "model.png").shape[2] == 3
    assert imageio.imread(tmp_path / "out" / "phrases_swapped.png").shape[1] > 8 * 64  # still frames, side by side
    with pytest.raises(InputError, match="sprites are square"):
        evaluate(replace(config, validation_data=SamplingConfig(4, 32, 48, 2)))
    with pytest.raises(InputError, match="video_length is 1"):
        evaluate(replace(config, validation_data=SamplingConfig(1, 32, 32, 2)))


@pytest.mark.parametrize(
    ("option", "folder", "message"),
    [
        ("stage1_ckpt_path", "typo", "no such folder"),
        ("stage1_ckpt_path", "run", "neither model_index.json"),
        ("trained_ckpt_path", "stage1", "stage1: an image was given, but this model has no image path"),
    ],
)
def test_other_models_that_do_not_fit_are_refused_before_anything_is_sampled(tmp_path, option, folder, message):
    (tmp_path / "run").mkdir()
    tiny_pipeline(image_gate=False, image_concat=False).save_pretrained(tmp_path / "stage1")
    config = Options(validation_data=SamplingConfig(4, 32, 32, 2), out=str(tmp_path / "out"), clips=2)
    with pytest.raises(InputError, match=message):
        evaluate(replace(config, **{option: str(tmp_path / folder)}))
    assert not (tmp_path / "out").exists()


def test_samplers_are_held_to_the_first(tmp_path):
    open_gates(tiny_pipeline()).save_pretrained(tmp_path / "model")
    config = SceneOptions(
        trained_ckpt_path=str(tmp_path / "model"),
        validation_data=SamplingConfig(2, 32, 32),
        out=str(tmp_path / "out"),
        clips=2,
        batch_size=2,
    )
    with pytest.raises(InputError, match="leave out scheduler"):
        compare_samplers(replace(config, scheduler="unipc"))
    text = compare_samplers(config, [("ddim", 4), ("ddim", 4), ("unipc", 2)])
    assert (tmp_path / "out" / "samplers.md").read_text() == text + "\n"
    first, same, other = (line.split(" | ") for line in text.splitlines()[2:])
    assert same[1:6] == [*first[1:5], "100.0"]  # the same noise, so the same videos
    assert float(other[5]) < 100
