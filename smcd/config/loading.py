"""A config from a YAML file, flags and key=value, each over the one before.

All keys of the published YAML files are accepted: one without a meaning for the command gets a warning. Any other
unknown key is an error.
"""

import difflib
import logging
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, make_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import yaml

from smcd.config.flags import ending, parse
from smcd.config.options import check, required
from smcd.runtime.command import command
from smcd.runtime.errors import InputError
from smcd.runtime.files import read_text

logger = logging.getLogger(__name__)
Config = TypeVar("Config")

_MOST_CHARACTERS, _MOST_VALUES = 50_000, 5_000  # of a file: more is no list of options, and takes long to read
_NULL = "tag:yaml.org,2002:null"
_PUBLISHED_KEYS = {  # of the published YAML files; a name with a dot is inside a section
    *("pretrained_model_path", "root_path", "output_dir", "train_data", "eval_data", "validation_data"),
    *("learning_rate", "train_batch_size", "val_batch_size", "max_train_steps", "checkpointing_steps"),
    *("validation_steps", "trainable_modules", "seed", "mixed_precision", "use_8bit_adam", "gradient_checkpointing"),
    *("enable_xformers_memory_efficient_attention", "tracker"),
    *("validation_data.use_inv_latent", "validation_data.num_inv_steps", "eval_data.split"),
    *(f"train_data.dataset_names.*.{key}" for key in ("which_layer_text", "random_flip", "cat_input")),
    "train_data.dataset_names.*.pretrained_model_path",
}


@contextmanager
def configured(
    schema: type[Config],
    description: str | None,
    prog: str | None = None,
    arguments: Sequence[str] | None = None,
) -> Iterator[Config]:
    """Load a command's config from its arguments and check it; the work inside runs as in `command`.

    `arguments` are by default those of the process.
    """
    with command():
        config = load(schema, sys.argv[1:] if arguments is None else arguments, description, prog)
        check(config)
        yield config


def load(
    schema: type[Config],
    arguments: Sequence[str],
    description: str | None = None,
    prog: str | None = None,
) -> Config:
    """The config that the arguments of a command give, unchecked: defaults < YAML < flags < key=value.

    Raises:
        InputError: an unreadable file, an unknown key (with its line) or flag, a value of another type.
    """
    given, words = parse(schema, arguments, description, prog)
    path, last = given.pop("config", None), ending(schema)
    config = schema(**dict.fromkeys(required(schema)))
    for word in words:
        if word.startswith("--"):
            _find(config, word[2:].partition("=")[0].replace("-", "_"))
            raise InputError(f"unknown option {word}")
    if path is not None:
        _set_yaml(config, Path(path))
    _set_presets(config, given)
    for name, value in given.items():
        owner, option, kind = _find(config, name)
        if get_origin(kind) is list:
            more = [word for word in value[1:] if "=" in word]  # `--datasets a b seed=3`
            words = more + words
            value = _typed(kind, ",".join(word for word in value if word not in more), f"--{name}")
        setattr(owner, option, value)
    if last:
        setattr(config, last, words)
        return config
    _set_words(config, words)
    return config


def read_config(schema: type[Config], path: Path, overrides: Sequence[str] = ()) -> Config:
    """The config that a YAML file and key=value give. Raises an InputError as `load` does."""
    config = schema()
    _set_yaml(config, path)
    _set_words(config, overrides)
    return config


def _set_words(config: Any, words: Sequence[str]) -> None:
    """Set what `key=value` words say."""
    _set_presets(config, dict(word.partition("=")[::2] for word in words))
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise InputError(f'{word!r}: neither a flag nor key=value; quote a text of several words: "A red car."')
        owner, option, kind = _find(config, key.replace("-", "_"))
        setattr(owner, option, _typed(kind, text, word))


def _set_presets(config: Any, given: Mapping[str, Any]) -> None:
    """Set what the presets among the given options stand for."""
    for declared in fields(config):
        choices = declared.metadata.get("choices")
        if isinstance(choices, Mapping):
            for key, value in choices.get(given.get(declared.name), {}).items():
                owner, option, _ = _find(config, key)
                setattr(owner, option, value)


def _find(config: Any, key: str, prefix: str = "") -> tuple[Any, str, Any]:
    """The config or section that holds an option, and the option's name in it and type.

    `key` is a path through the sections; the name of a section with short names may be left out.
    """
    first, _, rest = key.partition(".")
    hints = get_type_hints(type(config))
    value = getattr(config, first, None) if first in hints else None
    if rest and isinstance(value, dict):
        name, _, rest = rest.partition(".")
        value = value.setdefault(name, get_args(hints[first])[1]()) if rest else None
    if rest and is_dataclass(value):
        return _find(value, rest, f"{prefix}{first}.")
    if first in hints and not rest:
        if is_dataclass(value):
            raise InputError(f"{key} is a section: set one of its options, {key}.{fields(value)[0].name}=...")
        if get_origin(hints[first]) is dict:
            below = fields(get_args(hints[first])[1])[0].name
            raise InputError(f"{prefix}{first} holds sections: set an option of one, {prefix}{first}.NAME.{below}=...")
        return config, first, hints[first]
    sections = [declared for declared in fields(config) if is_dataclass(hints[declared.name])]
    inside = [declared for declared in sections if first in get_type_hints(hints[declared.name])]
    if not rest and inside and inside[0].metadata["short"]:
        return _find(getattr(config, inside[0].name), first)
    close = [f"{declared.name}.{first}" for declared in inside]
    raise InputError(f"unknown option {prefix}{key}{did_you_mean(key.rpartition('.')[2], hints, close)}")


def _typed(kind: Any, value: Any, where: str) -> Any:
    """The value of an option's type that a text, a list of texts, or None stands for.

    A text stays as it is (nothing in it is a reference); OmegaConf converts the rest.
    """
    is_list = get_origin(kind) is list
    if is_list and isinstance(value, str):  # "a,b" or "[a, b]"
        parts = value.strip().removeprefix("[").removesuffix("]").split(",")
        value = [part.strip() for part in parts if part.strip()]
    texts = value if is_list and isinstance(value, list) else [value]
    are_texts = all(isinstance(text, str) for text in texts)
    if are_texts and str in (kind, *get_args(kind)):
        return value

    from omegaconf import OmegaConf  # slow to import, and not needed for --help
    from omegaconf.errors import OmegaConfBaseException

    if value in ("null", "") and type(None) in get_args(kind):
        value = None
    try:
        if value is not None and not are_texts:
            raise TypeError
        option = OmegaConf.structured(make_dataclass("Option", [("value", kind)]))
        return OmegaConf.to_object(OmegaConf.merge(option, {"value": value})).value
    except (OmegaConfBaseException, ValueError, TypeError):
        name = kind.__name__ if isinstance(kind, type) else kind
        raise InputError(f"{where}: {value!r} is not of type {name}") from None


def did_you_mean(name: str, known: Iterable[str], first: Sequence[str] = ()) -> str:
    """The end of a message on an unknown name: the known one that is close to it, or nothing."""
    close = [*first, *difflib.get_close_matches(name, list(known), n=1)]
    return f"; did you mean {close[0]}?" if close else ""


def yaml_text(options: Mapping[str, Any]) -> str:
    """Options as the text of a YAML file that `--config` takes."""
    return yaml.safe_dump(dict(options), sort_keys=False, allow_unicode=True)


def _set_yaml(config: Any, path: Path) -> None:
    """Set what a YAML file says."""
    if not path.exists():
        raise InputError(f"{path}: cannot be read (there is no such file)")
    text = read_text(path)
    if len(text) > _MOST_CHARACTERS:
        raise InputError(f"{path}: has {len(text)} characters, but options take at most {_MOST_CHARACTERS}")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except RecursionError:
        raise InputError(f"{path}: is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        raise InputError(f"{path}{f':{mark.line + 1}' if mark else ''}: is not YAML") from None
    if node is not None:
        if _values(node, {}) > _MOST_VALUES:
            raise InputError(f"{path}: holds more than {_MOST_VALUES} values, where aliases (*name) are written out")
        _set_section(config, node, path, set())


def _values(node: Any, known: dict[int, float]) -> float:
    """How many nodes a node of a YAML file stands for; infinitely many if an alias is inside of what it names."""
    if id(node) not in known:
        known[id(node)] = math.inf
        inside = [] if node.id == "scalar" else node.value
        parts = (part for item in inside for part in (item if isinstance(item, tuple) else (item,)))
        known[id(node)] = 1 + sum(_values(part, known) for part in parts)
    return known[id(node)]


def _set_section(config: Any, node: Any, path: Path, ignored: set[str], prefix: str = "") -> Any:
    """Set the options of a config or section to what a node of a YAML file says; returns the section.

    `ignored` are keys of the file that were warned of already.
    """
    hints, seen, entries = get_type_hints(type(config)), set(), _entries(node, path, prefix)
    elsewhere = get_type_hints(getattr(config, "shares_files_with", object)).keys() - hints.keys()
    _set_presets(config, {key.value: value.value for key, value in entries if value.id == "scalar"})
    for key_node, value in entries:
        name, where = str(key_node.value), f"{path}:{key_node.start_mark.line + 1}"
        if name in elsewhere:
            continue
        key, kind = prefix + name, hints.get(name)
        takes_section = is_dataclass(kind) or get_origin(kind) is dict
        if name in seen:
            raise InputError(f"{where}: {key} is given twice; delete one of the lines")
        seen.add(name)
        other_tracker = key == "tracker" and value.id == "mapping" and not takes_section  # Weights & Biases' options
        if key in _PUBLISHED_KEYS and (name not in hints or other_tracker):
            if key not in ignored:
                logger.warning(f"{where}: {key} has no meaning for this command and is ignored")
            ignored.add(key)
        elif name not in hints:
            raise InputError(f"{where}: unknown key {key}{did_you_mean(name, hints)}")
        elif is_dataclass(kind):
            _set_section(getattr(config, name), value, path, ignored, f"{key}.")
        elif takes_section:
            for inner, below in _entries(value, path, f"{key}."):
                made = get_args(kind)[1]()
                getattr(config, name)[inner.value] = _set_section(made, below, path, ignored, f"{key}.*.")
        else:
            texts = yaml.BaseLoader("").construct_object(value, deep=True)  # every scalar as a text
            plain = None if value.tag == _NULL else texts
            setattr(config, name, _typed(kind, plain, f"{where}: {key}"))
    return config


def _entries(node: Any, path: Path, prefix: str) -> list[tuple[Any, Any]]:
    """The keys and values of a node of a YAML file."""
    if node.tag == _NULL:
        return []
    if node.id != "mapping" or any(key.id != "scalar" for key, _ in node.value):
        where = f"{path}:{node.start_mark.line + 1}"
        raise InputError(f"{where}: {prefix.rstrip('.') or 'the file'} should hold key: value lines")
    return node.value
