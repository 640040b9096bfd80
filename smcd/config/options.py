"""How an option of a config is declared, and the one place where its value is checked."""

import math
import operator
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from smcd.runtime.errors import InputError

_BOUNDS = {  # what a bound asks of a number, in words and as a test
    "low": ("at least", operator.ge),
    "high": ("at most", operator.le),
    "above": ("above", operator.gt),
    "below": ("below", operator.lt),
}


def option(
    default: Any,
    help: str,
    choices: Iterable[str] | Mapping[str, dict[str, Any]] = (),
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    filled: bool = False,
    folder: bool = False,
    positional: bool = False,
    metavar: str | None = None,
) -> Any:
    """A field with a default, a line for --help, and what its value may be; of a list, each of its elements.

    Args:
        default: `MISSING` for an option that must be given.
        choices: a mapping makes the option a preset: a choice sets these other options, where they are not given
            with it.
        low, high: the bounds of a number, which it may reach. Every number must be finite.
        above, below: the bounds of a number, which it may not reach.
        filled: the text must not be empty.
        folder: if the option is given, this folder must exist.
        positional: on the command line the value stands without the option's name.
        metavar: what --help calls the value, in place of its type.
    """
    metadata = {
        "help": help,
        "choices": list(choices),
        "sets": choices if isinstance(choices, Mapping) else {},
        "bounds": {"low": low, "high": high, "above": above, "below": below},
        "filled": filled,
        "folder": folder,
        "positional": positional,
        "metavar": metavar,
    }
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def section(schema: Any, *, short: bool = False) -> Any:
    """A field that holds options of its own: `--name.option`, and with `short` also plain `--option`."""
    return field(default_factory=schema, metadata={"short": short})


def required(schema: Any) -> list[str]:
    """The names of the options that must be given."""
    return [each.name for each in fields(schema) if each.default is MISSING and each.default_factory is MISSING]


def check(config: Any, prefix: str = "") -> None:
    """Raise an InputError for the first option that is out of its bounds, is not among its choices, or does not fit
    the others (a config that can tell has a method `check_together`)."""
    for declared in fields(config):
        value, name = getattr(config, declared.name), f"{prefix}{declared.name}"
        if is_dataclass(value):
            check(value, f"{name}.")
        elif isinstance(value, dict):
            for key, below in value.items():
                check(below, f"{name}.{key}.")
        elif value is None and declared.name in required(config):
            flag = name if declared.metadata["positional"] else f"--{name}"
            raise InputError(f"{flag} is missing: {declared.metadata['help']}")
        elif declared.metadata:
            for each in value if isinstance(value, list) else [value]:
                if each is not None:
                    _check_value(name, each, declared.metadata)
    if hasattr(config, "check_together"):
        config.check_together()


def _check_value(name: str, value: Any, declared: Mapping[str, Any]) -> None:
    choices = declared["choices"]
    if choices and value not in choices:
        raise InputError(f"{name} is {value!r}; choose from {', '.join(choices)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{name} is {value}; it must be a finite number")
    bounds = {key: bound for key, bound in declared["bounds"].items() if bound is not None}
    if not all(_BOUNDS[key][1](value, bound) for key, bound in bounds.items()):
        words = " and ".join(f"{_BOUNDS[key][0]} {bound}" for key, bound in bounds.items())
        words = f"from {bounds['low']} to {bounds['high']}" if bounds.keys() == {"low", "high"} else words
        raise InputError(f"{name} is {value}; it must be {words}")
    if declared["filled"] and not value.strip():
        raise InputError(f"{name} is empty: name a folder (is a variable of your shell not set?)")
    if declared["folder"] and not Path(value).is_dir():
        raise InputError(f"{value}: there is no such folder; {name} must name one")


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Options without sections: {"train_data.width": 256, ...}."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return result
