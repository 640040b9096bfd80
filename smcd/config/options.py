"""How an option of a config is declared."""

from collections.abc import Iterable
from dataclasses import field
from typing import Any


def option(default: Any, help: str, choices: Iterable[str] | None = None) -> Any:
    """A field with a default, a line for --help, and its choices, if these are given."""
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata={"help": help, "choices": None})
    return field(default=default, metadata={"help": help, "choices": choices and list(choices)})
