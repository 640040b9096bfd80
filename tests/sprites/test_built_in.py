"""The built-in sprites model: what is stored, and that it does what the method is for."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from scripts.sprites_scenes import held_out
from smcd import SMCDPipeline
from smcd.config import ModelConfig, SamplingConfig, check
from smcd.convert import sampling_defaults
from smcd.runtime.built_in import BUILT_IN
from smcd.runtime.errors import InputError
from smcd.sampler import Sampler, clip_generator, with_defaults
from smcd.sprites.feedback import overlap_of_colors, unknown_words
from smcd.sprites.layouts import make_world
from smcd.sprites.world import make_clip

FOLDER = BUILT_IN["sprites"]
WORLD = make_world(["built-in"])


@pytest.fixture(scope="module")
def pipe() -> SMCDPipeline:
    return SMCDPipeline.from_pretrained("sprites")


def test_it_is_small_and_names_no_folder_of_the_machine_that_made_it():
    weights = [path for path in FOLDER.glob("*/*") if path.is_file()]  # beside them stand the card and its pictures
    assert sum(path.stat().st_size for path in weights) <= 15_000_000
    assert sum(path.stat().st_size for path in FOLDER.glob("*") if path.is_file()) <= 500_000
    for path in FOLDER.rglob("*.json"):
        assert not str(json.loads(path.read_text()).get("_name_or_path", "")).startswith("/")


def test_it_loads_in_float32_and_knows_its_size(pipe):
    assert {pipe.unet.dtype, pipe.vae.dtype, pipe.position_net.dtype} == {torch.float32}
    made = pipe("A red circle.", num_inference_steps=1, num_frames=2, output_type="pt").frames
    assert made.shape == (1, 2, 3, 64, 64)
    assert pipe.config.guidance_scale == 2


def test_what_is_not_given_is_the_models_own():
    sampling = with_defaults(ModelConfig()).validation_data
    assert (*sampling.size, sampling.guidance_scale) == (64, 64, 2)
    sampling = with_defaults(ModelConfig(validation_data=SamplingConfig(guidance_scale=3.0, width=32))).validation_data
    assert (*sampling.size, sampling.guidance_scale) == (64, 32, 3)


def test_a_folder_that_says_nothing_has_the_full_size(tmp_path):
    (tmp_path / "model_index.json").write_text('{"_class_name": "SMCDPipeline"}')
    assert sampling_defaults(str(tmp_path)) == {"height": 256, "width": 256, "guidance_scale": 7.5}


@pytest.mark.parametrize("name", ["frame_height", "frame_width", "guidance_scale"])
def test_a_folder_that_says_no_number_is_named(tmp_path, name):
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "SMCDPipeline", name: "2"}))
    with pytest.raises(InputError, match=rf"model_index\.json: {name} is '2'; it must be a number"):
        sampling_defaults(str(tmp_path))


def test_objects_follow_their_boxes():
    """AO against the same model without boxes: what the method is for, on scenes of a seed never trained on."""
    sampler = Sampler(ModelConfig(validation_data=SamplingConfig(num_inference_steps=20)), torch.device("cpu"))
    scenes = held_out(77, 4, 8, 64, WORLD)
    overlaps = {}
    for name in ("with", "without"):
        videos = sampler(
            [scene.prompt for scene in scenes],
            [scene.frames[0] for scene in scenes],
            [scene.given_boxes(4) if name == "with" else scene.without_boxes(4) for scene in scenes],
            [[*scene.phrases, *[""] * (4 - len(scene.phrases))] for scene in scenes],
            [clip_generator(0, scene.name) for scene in scenes],
        )
        some = [
            overlap_of_colors(video, scene.given_boxes(len(scene.phrases)), scene.phrases)
            for scene, video in zip(scenes, videos, strict=True)
        ]
        overlaps[name] = np.mean([ao or 0 for ao in some])
    assert overlaps["with"] > 0.55
    assert overlaps["with"] > overlaps["without"] + 0.2


def test_words_that_it_does_not_know(pipe):
    assert unknown_words(pipe.tokenizer, ["A Red circle that is moving left.", "dog", "A “red” dog—star!"]) == ["dog"]


def test_overlap_of_colors_is_high_for_the_truth_and_zero_for_a_blank_video():
    clip = make_clip(3, 0, 8, 64, WORLD)
    boxes, phrases = clip.boxes.tolist(), [sprite.phrase for sprite in clip.sprites]
    assert overlap_of_colors(clip.frames, boxes, phrases) > 0.8
    assert overlap_of_colors(np.full_like(clip.frames, 90), boxes, phrases) == 0
    assert overlap_of_colors(clip.frames, boxes, ["thing"] * len(phrases)) is None


def test_a_base_is_not_for_the_built_in_model():
    with pytest.raises(InputError, match="a base is given, but no trained weights"):
        check(ModelConfig(pretrained_model_path=str(Path("somewhere"))))


@pytest.mark.parametrize("name", ["dtype", "torch_dtype"])
def test_it_loads_in_the_precision_that_is_asked_for(name):
    pipe = SMCDPipeline.from_pretrained("sprites", **{name: torch.float16})
    assert pipe.unet.dtype == torch.float16
