"""Configs: YAML, flags and key=value, each over the one before."""

import argparse
from pathlib import Path

import pytest

from scripts import new_model, train_vae
from smcd.config import (
    CustomizeConfig,
    EvaluationConfig,
    GligenConfig,
    ShowConfig,
    TrainConfig,
    add_flags,
    check_choices,
    load_config,
)
from smcd.runtime.errors import InputError


def load(*arguments: str) -> CustomizeConfig:
    parser = argparse.ArgumentParser()
    add_flags(parser, CustomizeConfig)
    return load_config(CustomizeConfig, parser.parse_intermixed_args(arguments))


def yaml(folder: Path, text: str) -> str:
    (folder / "config.yaml").write_text(text)
    return str(folder / "config.yaml")


def test_each_layer_covers_the_one_before(tmp_path):
    path = yaml(tmp_path, "seed: 1\nfps: 4\nvalidation_data: {width: 64, height: 64, video_length: 3}\n")
    arguments = ("--config", path, "--fps", "5", "--height", "128", "fps=6", "validation_data.video_length=9")
    config = load(*arguments)
    assert (config.seed, config.fps, config.num_videos) == (1, 6.0, 1)
    sampling = config.validation_data
    assert (sampling.width, sampling.height, sampling.video_length) == (64, 128, 9)


def test_a_preset_sets_what_is_not_given_with_it(tmp_path):
    path = yaml(tmp_path, "scheduler: unipc\nvalidation_data: {num_inference_steps: 99, width: 64}\n")
    fast = load("--preset", "fast")
    assert (fast.scheduler, fast.preset) != ("ddim", None)
    assert fast.validation_data.num_inference_steps < 50
    over_file = load("--config", path, "--preset", "fast")
    assert over_file.scheduler == fast.scheduler
    assert over_file.validation_data.num_inference_steps == fast.validation_data.num_inference_steps
    assert over_file.validation_data.width == 64
    assert load("--preset", "fast", "--num_inference_steps", "7").validation_data.num_inference_steps == 7
    assert load("preset=fast", "scheduler=ddim").scheduler == load("scheduler=ddim", "preset=fast").scheduler == "ddim"
    inside = yaml(tmp_path, "validation_data: {num_inference_steps: 99}\npreset: fast\n")
    assert load("--config", inside).scheduler == fast.scheduler
    assert load("--config", inside).validation_data.num_inference_steps == 99


def test_key_value_may_stand_between_flags():
    config = load("seed=4", "--cat_init", "num_videos=2", "--prompt", "hello")
    assert (config.seed, config.cat_init, config.num_videos, config.prompt) == (4, True, 2, "hello")


def test_published_files_are_accepted_with_warnings(tmp_path, caplog):
    published = """
pretrained_model_path: a
root_path: b
output_dir: c
train_data: {object_tracking: {path: x}}
validation_data: {video_length: 8, use_inv_latent: false, num_inv_steps: 50, guidance_scale: 12.5}
learning_rate: 3e-5
trainable_modules: [attn1.to_q]
seed: 33
mixed_precision: fp16
use_8bit_adam: false
gradient_checkpointing: true
enable_xformers_memory_efficient_attention: true
tracker: {project: p}
"""
    config = load("--config", yaml(tmp_path, published))
    assert (config.pretrained_model_path, config.root_path, config.mixed_precision) == ("a", "b", "fp16")
    assert config.validation_data.guidance_scale == 12.5
    assert "config.yaml:5: train_data has no meaning for this command" in caplog.text
    assert "config.yaml:6: validation_data.num_inv_steps has no meaning" in caplog.text
    assert "seed" not in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\nsed: 2\n", r"config.yaml:2: unknown key sed; did you mean seed\?"),
        ("validation_data:\n  widht: 2\n", r"config.yaml:2: unknown key validation_data.widht; did you mean width\?"),
        ("learning_rate: 1\nqqq: 2\n", "config.yaml:2: unknown key qqq$"),
        ("seed: many\n", "config.yaml: seed: "),
        ("validation_data: 3\n", "config.yaml: "),
        ("- a\n- b\n", "should hold key: value lines"),
        ("seed: ???\n", r"config.yaml: seed: '\?\?\?' is not of type int"),
        ("seed: 1\nfps: 2\nseed: 3\n", "config.yaml:3: seed is given twice"),
        ("a: [1\nb: 2\n", r"config.yaml:\d: is not YAML"),
        ("seed: 2020-13-45\n", "config.yaml: is not YAML"),
    ],
)
def test_bad_yaml(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        load("--config", yaml(tmp_path, text))


def test_bad_files_and_overrides(tmp_path):
    with pytest.raises(InputError, match=r"none.yaml: cannot be read"):
        load("--config", str(tmp_path / "none.yaml"))
    with pytest.raises(InputError, match="'word': neither a flag nor key=value"):
        load("word")
    with pytest.raises(InputError, match=r"unknown option sed; did you mean seed\?"):
        load("sed=1")
    with pytest.raises(InputError, match="validation_data is a section"):
        load("validation_data=3")
    with pytest.raises(InputError, match="is no value"):
        load("seed=[1")
    with pytest.raises(InputError, match="seed=x: "):
        load("seed=x")


@pytest.mark.parametrize("text", ["costs ${b}", "[", "{a", "Hello: a world", "???", "null", "a=b"])
def test_texts_are_taken_as_they_stand(text):
    assert load("--prompt", text).prompt == text
    assert load(f"prompt={text}").prompt == text


@pytest.mark.parametrize("text", ["${seed}", "${oc.env:HOME}", "???", "3", "no"])
def test_texts_in_yaml_are_literal_too(tmp_path, text):
    assert load("--config", yaml(tmp_path, f"prompt: '{text}'\n")).prompt == text


def test_numbers_with_exponents(tmp_path):
    assert load("--config", yaml(tmp_path, "fps: 8e0\n")).fps == 8.0
    assert load("fps=8e0").fps == 8.0


def test_a_plain_no_is_the_choice_no(tmp_path):
    assert load("--config", yaml(tmp_path, "mixed_precision: no\n")).mixed_precision == "no"
    assert load("mixed_precision=no").mixed_precision == "no"


def test_an_empty_file_changes_nothing(tmp_path):
    assert load("--config", yaml(tmp_path, "")) == CustomizeConfig()


SHIPPED = {
    "customize_infer.yaml": CustomizeConfig,
    "object_tracking_eval.yaml": EvaluationConfig,
    "object_tracking_ms_stage1.yaml": TrainConfig,
    "object_tracking_ms_stage2.yaml": TrainConfig,
    **{f"sprites_{name}.yaml": TrainConfig for name in ("base_frames", "base", "stage1", "stage2")},
    "sprites_vae.yaml": train_vae.Options,
    "sprites_model.yaml": new_model.Options,
}


@pytest.mark.parametrize("path", sorted(Path("configs").glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_configs_load(path, caplog):
    schema, parser = SHIPPED[path.name], argparse.ArgumentParser()
    add_flags(parser, schema)
    check_choices(load_config(schema, parser.parse_intermixed_args(["--config", str(path)])))
    assert not caplog.records


def load_data(*arguments):
    parser = argparse.ArgumentParser()
    add_flags(parser, ShowConfig)
    return load_config(ShowConfig, parser.parse_intermixed_args(arguments))


PUBLISHED_GLIGEN = """
train_data:
  name: gligen
  data_path: ./DATA
  dataset_names:
    FlickrGrounding:
      which_layer_text: before
      image_size: 512
      random_flip: False
      prob_use_caption: 0.25
    SBUGrounding: {}
"""


def test_published_gligen_section(tmp_path, caplog):
    config = load_data(
        "--config", yaml(tmp_path, PUBLISHED_GLIGEN), "train_data.dataset_names.SBUGrounding.image_size=64"
    )
    assert config.train_data.dataset_names == {
        "FlickrGrounding": GligenConfig(image_size=512, prob_use_caption=0.25),
        "SBUGrounding": GligenConfig(image_size=64),
    }
    assert ":7: train_data.dataset_names.*.which_layer_text has no meaning" in caplog.text
    with pytest.raises(InputError, match=r"config.yaml:8: unknown key train_data.dataset_names.\*.image_siz; did you"):
        load_data("--config", yaml(tmp_path, PUBLISHED_GLIGEN.replace("image_size", "image_siz")))


def test_lists_from_files_flags_and_overrides(tmp_path):
    path = yaml(tmp_path, "train_data:\n  datasets: [got10k]\n  weights: [1, 2.5]\n")
    assert load_data("--config", path).train_data.datasets == ["got10k"]
    assert load_data("--config", path).train_data.weights == [1.0, 2.5]
    assert load_data("--config", path, "--datasets", "a,b", "--weights", "1,2").train_data.weights == [1.0, 2.0]
    assert load_data("--config", path, "--datasets", "a,b").train_data.datasets == ["a", "b"]
    assert load_data("train_data.datasets=youvis,sprites").train_data.datasets == ["youvis", "sprites"]
    assert load_data("train_data.datasets=[youvis]").train_data.datasets == ["youvis"]
    assert load_data().train_data.datasets is not load_data().train_data.datasets
    with pytest.raises(InputError, match=r"--weights"):
        load_data("--weights", "a,b")


def test_choices_inside_sections():
    config = load_data("train_data.on_error=ignore")
    with pytest.raises(InputError, match=r"^train_data.on_error is 'ignore'; choose from error, skip$"):
        check_choices(config)
