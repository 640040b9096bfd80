"""Typed configs: YAML, then flags, then key=value, each over the one before; unknown keys are refused.

The YAML keys of the published files are all accepted. One without a meaning for the command gets a warning.
"""

import argparse
import difflib
import logging
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass, make_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from smcd.runtime.errors import InputError, first_line

logger = logging.getLogger(__name__)
Config = TypeVar("Config")

_PUBLISHED_KEYS = {  # of the published YAML files; a name with a dot is inside a section
    *("pretrained_model_path", "root_path", "output_dir", "train_data", "eval_data", "validation_data"),
    *("learning_rate", "train_batch_size", "val_batch_size", "max_train_steps", "checkpointing_steps"),
    *("validation_steps", "trainable_modules", "seed", "mixed_precision", "use_8bit_adam", "gradient_checkpointing"),
    *("enable_xformers_memory_efficient_attention", "tracker"),
    *("validation_data.use_inv_latent", "validation_data.num_inv_steps", "eval_data.split"),
    *(f"train_data.dataset_names.*.{key}" for key in ("which_layer_text", "random_flip", "cat_input")),
    "train_data.dataset_names.*.pretrained_model_path",
}


def add_flags(parser: argparse.ArgumentParser, schema: type) -> None:
    """A flag for every option of the config and of its sections that have flags; `--config`, and `key=value`."""
    parser.add_argument("--config", metavar="YAML", help="file with any of these options")
    for option, kind in _flags(schema):
        arguments: dict[str, Any] = {"help": option.metadata["help"] + _shown(option)}
        if kind is bool:
            arguments["action"] = argparse.BooleanOptionalAction
        elif get_origin(kind) is list:
            arguments["metavar"] = "A,B"
        else:
            arguments |= {"type": kind, "choices": option.metadata["choices"]}
            arguments["metavar"] = None if option.metadata["choices"] else kind.__name__.upper()
        parser.add_argument(f"--{option.name}", default=argparse.SUPPRESS, **arguments)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="more options, as in the YAML: a.b=value")


def _flags(schema: type) -> Iterator[tuple[Field, type]]:
    """Options that have a flag: all but those of sections with `without_flags` in their metadata."""
    hints = get_type_hints(schema)
    for option in fields(schema):
        kind = hints[option.name]
        if is_dataclass(kind):
            if not option.metadata.get("without_flags"):
                yield from _flags(kind)  # type: ignore[arg-type]
        elif "help" in option.metadata:
            plain = [k for k in get_args(kind) if k is not types.NoneType] or [kind]
            yield option, kind if get_origin(kind) is list else plain[0]


def check_choices(config: Any, prefix: str = "") -> None:
    """Raise an InputError for an option that is not among its choices (a YAML file can say anything)."""
    for option in fields(config):
        choices, value = option.metadata.get("choices"), getattr(config, option.name)
        if is_dataclass(value):
            check_choices(value, f"{prefix}{option.name}.")
        elif choices and value is not None and value not in choices:
            raise InputError(f"{prefix}{option.name} is {value!r}; choose from {', '.join(choices)}")


def _shown(option: Field) -> str:
    default = option.default
    if option.default_factory is not MISSING:
        default = ",".join(map(str, option.default_factory()))
    return "" if default in (None, "") else f" (default: {default})"


def load_config(schema: type[Config], arguments: argparse.Namespace, other: type | None = None) -> Config:
    """The config from parsed flags (see `add_flags`): defaults < YAML < flags < key=value.

    Args:
        other: another command's config, whose file is taken too; what only that command knows is left out.

    Raises:
        InputError: an unreadable file, an unknown key (with its line), a value of another type.
    """
    flags = dict(vars(arguments))
    path, overrides = flags.pop("config", None), flags.pop("overrides", [])
    content = {} if path is None else _read_yaml(schema, Path(path), other)
    config = schema()
    _set_all(config, _presets(schema, content))
    config = _typed(config, content, str(path))
    _set_all(config, _presets(schema, flags))
    for name, value in flags.items():
        owner, kind = _owner(config, name)
        setattr(owner, name, _value(kind, name, value, f"--{name}") if get_origin(kind) is list else value)
    _set_all(config, _presets(schema, dict(override.partition("=")[::2] for override in overrides)))
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise InputError(f'{override!r}: neither a flag nor key=value; quote a text of several words: "A red car."')
        owner, kind = _owner(config, key)
        setattr(owner, key.rpartition(".")[2], _value(kind, key, text, override))
    return config


def _presets(schema: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that presets among the given ones set."""
    presets = [option for option in fields(schema) if option.metadata.get("sets")]
    chosen = [option.metadata["sets"].get(str(given.get(option.name)), {}) for option in presets]
    return {name: value for preset in chosen for name, value in preset.items()}


def _set_all(config: Any, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        setattr(_owner(config, name)[0], name, value)


def _typed(schema: Any, content: dict[str, Any], source: str) -> Any:
    """The config (a class, or one of its objects) with these values in place of its own.

    Texts are set as they stand (nothing in them is a reference); OmegaConf converts and checks the rest: an InputError
    for a value of another type.
    """
    from omegaconf import OmegaConf  # slow to import, and not needed for --help
    from omegaconf.errors import OmegaConfBaseException

    texts, rest = _split_texts(content)
    try:
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), rest))
    except (OmegaConfBaseException, ValueError, TypeError) as error:
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
    """The (nested) config that holds an option, and the option's type.

    `key` is a path through the sections; that of a section with flags may be left out.
    """
    first, _, rest = key.partition(".")
    hints = {option.name: get_type_hints(type(config))[option.name] for option in fields(config)}
    if rest and first in hints:
        section = getattr(config, first)
        if isinstance(section, dict):
            name, _, rest = rest.partition(".")
            entry = get_args(hints[first])[1]
            section = section.setdefault(name, entry()) if rest else None
        if is_dataclass(section):
            return _owner(section, rest)
    elif not rest:
        for option in fields(config):
            section = None if option.metadata.get("without_flags") else hints[option.name]
            if is_dataclass(section) and first in get_type_hints(section):
                return _owner(getattr(config, option.name), first)
        if is_dataclass(hints.get(first)):
            inside = next(iter(get_type_hints(hints[first])))
            raise InputError(f"{key} is a section: set one of its options, {key}.{inside}=...")
        if first in hints:
            return config, hints[first]
    raise InputError(f"unknown option {key}{_did_you_mean(key.rpartition('.')[2], hints)}")


def _value(kind: Any, key: str, text: str, source: str) -> Any:
    """The value that `text` stands for: a text as it stands, anything else as YAML reads it."""
    import yaml

    if get_origin(kind) is list and not text.lstrip().startswith("["):
        text = f"[{text}]"
    elif str in (kind, *get_args(kind)) and get_origin(kind) is not list:
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


def _read_yaml(schema: type, path: Path, other: type | None) -> dict[str, Any]:
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
    if other is not None:
        elsewhere = {option.name for option in fields(other)} - {option.name for option in fields(schema)}
        node.value = [(key, value) for key, value in node.value if key.value not in elsewhere]
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
        if key in hints and not (isinstance(value, dict) and _is_plain(hints[key]) and prefix + key in _PUBLISHED_KEYS):
            known[key] = _known_value(hints[key], value, value_node, path, f"{prefix}{key}.")
        elif prefix + key in _PUBLISHED_KEYS:
            logger.warning(f"{where}: {prefix}{key} has no meaning for this command and is ignored")
        else:
            raise InputError(f"{where}: unknown key {prefix}{key}{_did_you_mean(str(key), hints)}")
    return known


def _is_plain(kind: Any) -> bool:
    """No section and no dictionary: `tracker`, which names one here, is a section in the published files."""
    return not is_dataclass(kind) and get_origin(kind) is not dict


def _known_value(kind: Any, value: Any, node: Any, path: Path, prefix: str) -> Any:
    if is_dataclass(kind) and isinstance(value, dict):
        return _known_keys(kind, value, node, path, prefix)  # type: ignore[arg-type]
    if get_origin(kind) is dict and isinstance(value, dict) and is_dataclass(get_args(kind)[1]):
        entry = get_args(kind)[1]
        nodes = {key.value: below for key, below in node.value}
        return {
            name: _known_keys(entry, below, nodes[name], path, f"{prefix}*.") if isinstance(below, dict) else below
            for name, below in value.items()
        }
    if isinstance(value, bool) and str in (kind, *get_args(kind)):
        return node.value  # YAML takes a plain `no` for a truth value
    return value
