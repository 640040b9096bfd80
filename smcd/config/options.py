"""How an option of a config is declared, and the one place where its value is checked."""

import math
import operator
import os
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypedDict, Unpack

from smcd.runtime.errors import InputError

_BOUNDS = {  # what a bound asks of a number, in words and as a test
    "low": ("at least", operator.ge),
    "high": ("at most", operator.le),
    "above": ("above", operator.gt),
    "below": ("below", operator.lt),
}


class Facts(TypedDict, total=False):
    """What an option's value must be and how it is given. For a list, the facts hold for each element."""

    low: float  # bounds that a number may reach
    high: float
    above: float  # bounds that a number may not reach
    below: float
    filled: bool  # neither the text nor the list may be empty
    folder: bool  # if the option is given, this folder must exist
    positional: bool  # on the command line the value stands without the option's name
    metavar: str  # what --help calls the value, in place of its type


def option(
    default: Any, help: str, choices: Sequence[str] | Mapping[str, dict[str, Any]] = (), **facts: Unpack[Facts]
) -> Any:
    """A field with a default (`MISSING` if it must be given), a line for --help, and the choices for its value.

    A mapping of choices makes the option a preset: a choice sets these other options, where they are not given with it.
    """
    metadata = {"help": help, "choices": choices, **facts}
    if isinstance(default, list):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


def section(schema: Any, *, short: bool = False) -> Any:
    """A field that holds options of its own: `--name.option`, and with `short` also plain `--option`."""
    return field(default_factory=schema, metadata={"short": short})


def required(schema: Any) -> list[str]:
    """The names of the options that must be given."""
    return [each.name for each in fields(schema) if each.default is MISSING and each.default_factory is MISSING]


def check(config: Any, prefix: str = "") -> None:
    """Raise an InputError for the first option that is missing, out of bounds or not among its choices.

    A config that can tell what does not fit together has a method `check_together`, which raises an InputError too.
    """
    for declared in fields(config):
        value, name = getattr(config, declared.name), f"{prefix}{declared.name}"
        if is_dataclass(value):
            check(value, f"{name}.")
        elif isinstance(value, dict):
            for key, below in value.items():
                check(below, f"{name}.{key}.")
        elif value is None and declared.name in required(config):
            flag = name if declared.metadata.get("positional") else f"--{name}"
            raise InputError(f"{flag} is missing: {declared.metadata['help']}")
        elif value == [] and declared.metadata.get("filled"):
            raise InputError(f"no {name}: name {declared.metadata['help']}")
        elif declared.metadata:
            for each in value if isinstance(value, list) else [value]:
                if each is not None:
                    _check_value(name, each, declared.metadata)
    if hasattr(config, "check_together"):
        config.check_together()


def _check_value(name: str, value: Any, declared: Mapping[str, Any]) -> None:
    choices = declared["choices"]
    if isinstance(value, str) and not _is_text(value):
        raise InputError(f"{name} holds a character that stands for nothing (NUL or half a character)")
    if choices and value not in choices:
        raise InputError(f"{name} is {value!r}; choose from {', '.join(choices)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{name} is {value}; it must be a finite number")
    bounds = {key: declared[key] for key in _BOUNDS if key in declared}
    if not all(_BOUNDS[key][1](value, bound) for key, bound in bounds.items()):
        words = " and ".join(f"{_BOUNDS[key][0]} {bound}" for key, bound in bounds.items())
        words = f"from {bounds['low']} to {bounds['high']}" if bounds.keys() == {"low", "high"} else words
        raise InputError(f"{name} is {value}; it must be {words}")
    if declared.get("filled") and not value.strip():
        raise InputError(f"{name} is empty: name a folder (is a variable of your shell not set?)")
    if declared.get("folder") and not Path(value).is_dir():
        raise InputError(f"{value}: there is no such folder; {name} must name one")


def _is_text(value: str) -> bool:
    """Whether a text can be a path or be written: bytes that are no UTF-8 can name a file, too."""
    try:
        return b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        return False


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Options without sections: {"train_data.width": 256, ...}."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return result
