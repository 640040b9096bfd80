"""Configs: YAML, flags and key=value, each over the one before."""

from pathlib import Path

import pytest

from scripts import new_model, train_vae
from smcd.config import (
    CustomizeConfig,
    EvaluationConfig,
    GligenConfig,
    ShowConfig,
    TrainConfig,
    check,
)
from smcd.config import load as load_config
from smcd.runtime.errors import InputError


def load(*arguments: str) -> CustomizeConfig:
    return load_config(CustomizeConfig, arguments)


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
        ("seed: many\n", "config.yaml:1: seed: "),
        ("seed: {a: 1}\n", "config.yaml:1: seed: "),
        ("validation_data: 3\n", "config.yaml:1: validation_data "),
        ("- a\n- b\n", "should hold key: value lines"),
        ("seed: ???\n", r"config.yaml:1: seed: '\?\?\?' is not of type int"),
        ("seed: 1\nfps: 2\nseed: 3\n", "config.yaml:3: seed is given twice"),
        ("a: [1\nb: 2\n", r"config.yaml:\d: is not YAML"),
        ("seed: 2020-13-45\n", "config.yaml:1: seed: "),
        ("prompt: {a: b}\n", "config.yaml:1: prompt: "),
        ("fps: 2\nformat: [[gif]]\n", "config.yaml:2: format: "),
        ("? [a]\n: b\n", "config.yaml:1: the file should hold key: value lines"),
    ],
)
def test_bad_yaml(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        load("--config", yaml(tmp_path, text))


_LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("format: &x [*x]\n", "holds more than 5000 values, where aliases"),
        ("&x {validation_data: *x}\n", "holds more than 5000 values, where aliases"),
        (_LAUGHS, "holds more than 5000 values, where aliases"),
        ("seeds: [" + "1, " * 6000 + "]", "holds more than 5000 values"),
        ("[" * 500, "is nested too deeply"),
        ("{a: " * 10_000, "is nested too deeply"),
        ("#" * 60_000, "has 60000 characters, but options take at most"),
        ("1: 2\n", "config.yaml:1: unknown key 1$"),
        ("~: 2\n", "config.yaml:1: unknown key ~$"),
        ("prompt: \0\n", "is not YAML"),
        (b"prompt: \xff\n", "is not a text file in UTF-8"),
    ],
)
def test_yaml_that_would_be_endless_is_one_line_at_once(tmp_path, text, message):
    path = tmp_path / "config.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=message) as error:
        load_config(EvaluationConfig, ["--config", str(path)])
    assert "\n" not in str(error.value)


def test_aliases_and_a_byte_order_mark_are_read(tmp_path):
    text = (
        "\ufeffseed: &one 1\nvalidation_data: &size {width: &w 64, height: *w}\neval_data: *size\nnum_workers: *one\n"
    )
    config = load_config(EvaluationConfig, ["--config", yaml(tmp_path, text)])
    assert (config.seed, config.num_workers, config.validation_data.size) == (1, 1, (64, 64))
    assert (config.eval_data.height, config.eval_data.width) == (64, 64)


@pytest.mark.parametrize("text", [r"a\0b", r"a\ud800b"])
def test_texts_that_no_file_can_hold_are_refused(tmp_path, text):
    config = load("--config", yaml(tmp_path, f'output_dir: "{text}"\n'))
    with pytest.raises(InputError, match="output_dir holds a character that stands for nothing"):
        check(config)


def test_bad_files_and_overrides(tmp_path):
    with pytest.raises(InputError, match=r"none.yaml: cannot be read"):
        load("--config", str(tmp_path / "none.yaml"))
    with pytest.raises(InputError, match="'word': neither a flag nor key=value"):
        load("word")
    with pytest.raises(InputError, match=r"unknown option sed; did you mean seed\?"):
        load("sed=1")
    with pytest.raises(InputError, match="validation_data is a section"):
        load("validation_data=3")
    for key in ("train_data.dataset_names", "train_data.dataset_names.SBUGrounding"):
        with pytest.raises(InputError, match=r"train_data.dataset_names holds sections"):
            load_training(f"{key}=3")
    with pytest.raises(InputError, match=r"seed=\[1: "):
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
def test_shipped_configs_load(path, tmp_path, caplog):
    schema = SHIPPED[path.name]
    given = {CustomizeConfig: ["--prompt", "A dog.", "--input_data_path", str(tmp_path)]}
    check(load_config(schema, ["--config", str(path), *given.get(schema, [])]))
    assert not caplog.records


def load_data(*arguments):
    return load_config(ShowConfig, arguments)


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
    SBUGrounding:
      which_layer_text: before
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
    assert caplog.text.count("which_layer_text") == 1  # once, not for every set
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
    with pytest.raises(InputError, match=r"--train_data.weights"):
        load_data("--weights", "a,b")


def test_choices_inside_sections():
    config = load_data("train_data.on_error=ignore")
    with pytest.raises(InputError, match=r"^train_data.on_error is 'ignore'; choose from error, skip$"):
        check(config)


def test_a_section_without_content_changes_nothing(tmp_path):
    assert load("--config", yaml(tmp_path, "validation_data:\nseed: 4\n")) == CustomizeConfig(seed=4)


def load_training(*arguments: str) -> TrainConfig:
    return load_config(TrainConfig, arguments)


@pytest.mark.parametrize("flag", ["--max_train_steps", "--max-train-steps"])
def test_hyphens_and_underscores_are_the_same(flag):
    assert load_training(flag, "7").max_train_steps == load_training(f"{flag}=7").max_train_steps == 7
    assert load_training(f"{flag[2:]}=7").max_train_steps == 7
    assert load_training("--train-data.on-error", "skip").train_data.on_error == "skip"
    assert not load("--no-cross-vision").cross_vision
    assert load_training("--dry-run").dry_run
    assert load_training("--dry_run").dry_run


def test_sections_have_flags(tmp_path):
    path = yaml(tmp_path, "train_data: {width: 32, height: 32}\neval_data: {width: 32}\n")
    flags = ["--train_data.width", "64", "--eval-data.height", "96", "--tracker.project", "p", "eval_data.height=128"]
    config = load_training("--config", path, *flags, "--validation_data.width", "256")
    assert (config.train_data.width, config.train_data.height) == (64, 32)
    assert (config.eval_data.width, config.eval_data.height, config.eval_data.split) == (32, 128, "val")
    assert (config.validation_data.width, config.tracker.project) == (256, "p")
    assert load("--width", "64").validation_data == load("--validation_data.width", "64").validation_data
    assert load("validation_data.width=64").validation_data == load("width=64").validation_data


def test_lists_of_words():
    words = load_training("--trainable_modules", "attn1.to_q", "attn2", "seed=4", "--train_data.datasets", "sprites")
    assert (words.trainable_modules, words.seed) == (["attn1.to_q", "attn2"], 4)
    assert load_training("--trainable_modules", "attn1.to_q,attn2").trainable_modules == ["attn1.to_q", "attn2"]
    assert load_training("--trainable_modules", "a", "trainable_modules=[]").trainable_modules == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max_train_stepz", "3"], r"unknown option max_train_stepz; did you mean max_train_steps\?"),
        (["--max-train-stepz=3"], r"unknown option max_train_stepz; did you mean max_train_steps\?"),
        (["--train_data.widht", "3"], r"unknown option train_data.widht; did you mean width\?"),
        (["--width", "3"], r"unknown option width; did you mean train_data.width\?"),
        (["train_data.widht=3"], r"unknown option train_data.widht; did you mean width\?"),
        (["--seed"], "--seed"),
        (["--seed", "--dry_run"], "--seed"),
        (["--seed", "x"], "--seed"),
        (["--seed", "1.5"], "--seed"),
    ],
)
def test_bad_flags(arguments, message):
    with pytest.raises(InputError, match=message) as error:
        load_training(*arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("max_train_steps", "0", "max_train_steps is 0; it must be from 1 to"),
        ("adam_beta1", "1", "adam_beta1 is 1.0; it must be at least 0 and below 1"),
        ("learning_rate", "0", "learning_rate is 0.0; it must be above 0"),
        ("gate_init", "nan", "gate_init is nan; it must be a finite number"),
        ("mixed_precision", "fp8", "mixed_precision is 'fp8'; choose from no, fp16, bf16"),
        ("train_data.on_error", "ignore", "train_data.on_error is 'ignore'; choose from error, skip"),
        ("validation_data.video_length", "0", "validation_data.video_length is 0"),
        ("report_to", "jsonl,mlflow", "report_to is 'mlflow'; choose from"),
        ("output_dir", " ", "output_dir is empty"),
    ],
)
@pytest.mark.parametrize("source", ["yaml", "flag", "key=value"])
def test_bounds_are_checked_whatever_the_source(tmp_path, source, key, value, message):
    section, _, name = key.rpartition(".")
    if source == "yaml":
        line = f"{name}: {value.split(',') if ',' in value else repr(value)}"
        arguments = ["--config", yaml(tmp_path, f"{section}: {{{line}}}" if section else line)]
    else:
        arguments = [f"--{key}", value] if source == "flag" else [f"{key}={value}"]
    config = load_training(*arguments)
    with pytest.raises(InputError, match=message):
        check(config)
