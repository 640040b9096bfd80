"""How an option of a config is declared."""

from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Any


def option(default: Any, help: str, choices: Iterable[str] | Mapping[str, dict[str, Any]] | None = None) -> Any:
    """A field with a default, a line for --help, and its choices, if these are given.

    A mapping of choices makes it a preset: a choice sets these other options, where they are not given with it.
    """
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata={"help": help, "choices": None})
    sets = choices if isinstance(choices, Mapping) else {}
    return field(default=default, metadata={"help": help, "choices": choices and list(choices), "sets": sets})
