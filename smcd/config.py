"""Typed configs: YAML, then flags, then key=value, each over the one before; unknown keys are refused.

The YAML keys of the published files are all accepted. One without a meaning for the command gets a warning.
"""

import argparse
import difflib
import logging
import types
from collections.abc import Iterable, Iterator
from dataclasses import Field, dataclass, field, fields, is_dataclass, make_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from smcd.errors import InputError, first_line

logger = logging.getLogger(__name__)
Config = TypeVar("Config")

_PUBLISHED_KEYS = {  # of the published YAML files; a name with a dot is inside a section
    *("pretrained_model_path", "root_path", "output_dir", "train_data", "eval_data", "validation_data"),
    *("learning_rate", "train_batch_size", "val_batch_size", "max_train_steps", "checkpointing_steps"),
    *("validation_steps", "trainable_modules", "seed", "mixed_precision", "use_8bit_adam", "gradient_checkpointing"),
    *("enable_xformers_memory_efficient_attention", "tracker"),
    *("validation_data.use_inv_latent", "validation_data.num_inv_steps"),
}


def _option(default: Any, help: str, choices: Iterable[str] | None = None) -> Any:
    return field(default=default, metadata={"help": help, "choices": choices and list(choices)})


@dataclass
class SamplingConfig:
    """The published files' `validation_data`."""

    video_length: int = _option(8, "frames of the video")
    width: int = _option(256, "of the video, in pixels; a multiple of 64 for the full model")
    height: int = _option(256, "of the video, in pixels; a multiple of 64 for the full model")
    num_inference_steps: int = _option(50, "denoising steps")
    guidance_scale: float = _option(7.5, "text guidance; 1 switches it off")


@dataclass
class CustomizeConfig:
    """What `inference_customize.py` can be told."""

    input_data_path: str | None = _option(None, "folder with img.png and bbox.txt or objects.json")
    prompt: str | None = _option(None, "what happens in the video")
    object: str | None = _option(None, "what the object of bbox.txt is called; otherwise the whole prompt")
    output_dir: str = _option("outputs/customize", "folder for the video")
    trained_ckpt_path: str | None = _option(
        None, "trained weights: published folder, pipeline folder or hub id; otherwise an untrained tiny model"
    )
    pretrained_model_path: str | None = _option(
        None,
        "base of published weights: diffusers folder or hub id; otherwise ali-vilab/text-to-video-ms-1.7b",
    )
    root_path: str | None = _option(
        None, "the base as a ModelScope folder; pretrained_model_path then gives the tokenizer"
    )
    tokenizer: str | None = _option(None, "folder or hub id of the tokenizer, if not in the base")
    pretrained_weight_path: str | None = _option(None, "file with the base UNet tensors that the checkpoint lacks")
    train_grounding: str | None = _option(
        None,
        "expect weights with the object gate (vanilla) or with both gates (vanilla_cross_vision)",
        ("vanilla", "vanilla_cross_vision"),
    )
    cross_vision: bool = _option(False, "expect weights with the image gate")
    cat_init: bool = _option(False, "expect weights with the zero conv (first frame concatenated)")
    validation_data: SamplingConfig = field(default_factory=SamplingConfig)
    img_free_guidance: float = _option(0.0, "image guidance")
    ti_free_guidance: float = _option(0.0, "guidance by text and image together")
    box_free_guidance: float = _option(0.0, "box guidance")
    scheduler: str = _option("ddim", "sampler", ("ddim", "dpmsolver++", "unipc"))
    seed: int = _option(33, "of the first video")
    num_videos: int = _option(1, "videos, with seeds seed, seed + 1, ...; each in its own folder")
    resize: str = _option("antialiased", "how the image is squashed", ("antialiased", "published"))
    fps: float = _option(8.0, "frames a second in the written videos")
    format: str = _option("gif,mp4", "any of gif, mp4, png, separated by commas")
    mixed_precision: str | None = _option(
        None, "autocast of the networks, as published; otherwise fp16 on a GPU, no elsewhere", ("no", "fp16", "bf16")
    )
    dtype: str = _option("float32", "of the weights; 16 bits need half the memory", ("float32", "float16", "bfloat16"))
    low_memory: bool = _option(False, "less memory, more time: guidance branches and frames one after the other")
    enable_xformers_memory_efficient_attention: bool = _option(False, "attention through xformers")


def add_flags(parser: argparse.ArgumentParser, schema: type) -> None:
    """A flag for every option of the config, nested ones too, and `--config`, and `key=value`."""
    parser.add_argument("--config", metavar="YAML", help="file with any of these options")
    for option, kind in _options(schema):
        arguments: dict[str, Any] = {"help": option.metadata["help"] + _shown(option)}
        if kind is bool:
            arguments["action"] = argparse.BooleanOptionalAction
        else:
            arguments |= {"type": kind, "choices": option.metadata["choices"]}
            arguments["metavar"] = None if option.metadata["choices"] else kind.__name__.upper()
        parser.add_argument(f"--{option.name}", default=argparse.SUPPRESS, **arguments)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="more options, as in the YAML")


def _options(schema: type) -> Iterator[tuple[Field, type]]:
    hints = get_type_hints(schema)
    for option in fields(schema):
        kind = hints[option.name]
        if is_dataclass(kind):
            yield from _options(kind)  # type: ignore[arg-type]
        else:
            plain = [k for k in get_args(kind) if k is not types.NoneType] or [kind]
            yield option, plain[0]


def check_choices(config: Any) -> None:
    """Raise an InputError for an option that is not among its choices (a YAML file can say anything)."""
    for option, _ in _options(type(config)):
        choices = option.metadata["choices"]
        value = getattr(config, option.name, None)
        if choices and value is not None and value not in choices:
            raise InputError(f"{option.name} is {value!r}; choose from {', '.join(choices)}")


def _shown(option: Field) -> str:
    return "" if option.default is None else f" (default: {option.default})"


def load_config(schema: type[Config], arguments: argparse.Namespace) -> Config:
    """The config from parsed flags (see `add_flags`): defaults < YAML < flags < key=value.

    Raises:
        InputError: an unreadable file, an unknown key (with its line), a value of another type.
    """
    flags = dict(vars(arguments))
    path, overrides = flags.pop("config", None), flags.pop("overrides", [])
    config = _typed(schema, {} if path is None else _read_yaml(schema, Path(path)), str(path))
    for name, value in flags.items():
        setattr(_owner(config, name)[0], name, value)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise InputError(f"{override!r}: neither a flag nor key=value")
        owner, kind = _owner(config, key)
        setattr(owner, key.rpartition(".")[2], _value(kind, key, text, override))
    return config


def _typed(schema: Any, content: dict[str, Any], source: str) -> Any:
    """The config with these values in place of the defaults; raises an InputError for a value of another type.

    Texts are set as they stand (nothing in them is a reference); OmegaConf converts and checks the rest.
    """
    from omegaconf import OmegaConf  # slow to import, and not needed for --help
    from omegaconf.errors import OmegaConfBaseException

    texts, rest = _split_texts(content)
    try:
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), rest))
    except (OmegaConfBaseException, ValueError) as error:
        key = getattr(error, "full_key", None)
        raise InputError(f"{source}: {f'{key}: ' if key else ''}{first_line(error)}") from None
    for key, text in texts.items():
        owner, kind = _owner(config, key)
        setattr(owner, key.rpartition(".")[2], _value(kind, key, text, f"{source}: {key}"))
    return config


def _split_texts(content: dict[str, Any], prefix: str = "") -> tuple[dict[str, str], dict[str, Any]]:
    """Values that are texts, by their full key, and all others."""
    texts, rest = {}, {}
    for key, value in content.items():
        if isinstance(value, str):
            texts[prefix + key] = value
        elif isinstance(value, dict):
            below, rest[key] = _split_texts(value, f"{prefix}{key}.")
            texts |= below
        else:
            rest[key] = value
    return texts, rest


def _owner(config: Any, key: str) -> tuple[Any, Any]:
    """The (nested) config that holds an option, and the option's type; `key` may leave out the section's name."""
    section, _, name = key.rpartition(".")
    hints = get_type_hints(type(config))
    for option, hint in hints.items():
        if is_dataclass(hint) and section in ("", option) and name in get_type_hints(hint):
            return getattr(config, option), get_type_hints(hint)[name]
    if section or name not in hints:
        raise InputError(f"unknown option {key}{_did_you_mean(name, hints)}")
    if is_dataclass(hints[name]):
        raise InputError(
            f"{key} is a section: set one of its options, {key}.{next(iter(get_type_hints(hints[name])))}=..."
        )
    return config, hints[name]


def _value(kind: Any, key: str, text: str, source: str) -> Any:
    """The value that `text` stands for: a text as it stands, anything else as YAML reads it."""
    import yaml

    if str in (kind, *get_args(kind)):
        return text
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        raise InputError(f"{source}: {text!r} is no value") from None
    if isinstance(value, str):  # YAML takes 3e-5, without a point, for a text
        try:
            value = float(value)
        except ValueError:
            raise InputError(f"{source}: {text!r} is not of type {getattr(kind, '__name__', kind)}") from None
    name = key.rpartition(".")[2]
    return getattr(_typed(make_dataclass("Option", [(name, kind)]), {name: value}, source), name)


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _read_yaml(schema: type, path: Path) -> dict[str, Any]:
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        content, node = yaml.safe_load(text), yaml.compose(text, Loader=yaml.SafeLoader)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        raise InputError(f"{path}{f':{mark.line + 1}' if mark else ''}: is not YAML") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise InputError(f"{path}: should hold key: value lines")
    return _known_keys(schema, content, node, path)


def _known_keys(schema: type, content: dict, node: Any, path: Path, prefix: str = "") -> dict[str, Any]:
    """The content without published keys that mean nothing here (warned of); an unknown key is an error."""
    hints = get_type_hints(schema)
    known: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key, where = key_node.value, f"{path}:{key_node.start_mark.line + 1}"
        value = content.get(key)
        if key in known:
            raise InputError(f"{where}: {prefix}{key} is given twice; delete one of the lines")
        if key in hints:
            if is_dataclass(hints[key]) and isinstance(value, dict):
                value = _known_keys(hints[key], value, value_node, path, f"{key}.")
            elif isinstance(value, bool) and str in (hints[key], *get_args(hints[key])):
                value = value_node.value  # YAML takes a plain `no` for a truth value
            known[key] = value
        elif prefix + key in _PUBLISHED_KEYS:
            logger.warning(f"{where}: {prefix}{key} has no meaning for this command and is ignored")
        else:
            raise InputError(f"{where}: unknown key {prefix}{key}{_did_you_mean(str(key), hints)}")
    return known
