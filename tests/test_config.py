"""Configs: YAML, flags and key=value, each over the one before."""

import argparse
from pathlib import Path

import pytest

from smcd.config import CustomizeConfig, TrainConfig, add_flags, load_config
from smcd.errors import InputError


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


@pytest.mark.parametrize(
    ("path", "schema"),
    [
        ("configs/customize_infer.yaml", CustomizeConfig),
        ("configs/object_tracking_ms_stage1.yaml", TrainConfig),
        ("configs/object_tracking_ms_stage2.yaml", TrainConfig),
    ],
)
def test_shipped_configs_load(path, schema, caplog):
    parser = argparse.ArgumentParser()
    add_flags(parser, schema)
    load_config(schema, parser.parse_intermixed_args(["--config", path]))
    assert not caplog.records
