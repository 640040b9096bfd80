"""The command line of a config, parsed by tyro: a flag for every option, a group for every section."""

import io
import sys
import types
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, make_dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from smcd.config.options import option
from smcd.runtime.errors import InputError


@dataclass
class EveryCommand:
    """What every command takes beside its own options."""

    config: str | None = option(None, "file with any of these options", metavar="YAML")


@dataclass
class Overrides:
    """What a command takes whose own options do not end in words."""

    overrides: list[str] = option([], "more options, as in the YAML: a.b=value", positional=True, metavar="KEY=VALUE")


def parse(
    schema: type, arguments: Sequence[str], description: str | None, prog: str | None
) -> tuple[dict[str, Any], list[str]]:
    """What is given, by the options' full names (`train_data.width`), and the words that are no flag nor its value.

    Raises:
        InputError: a flag without its value, or with one of another type.
        SystemExit: after --help.
    """
    import tyro

    last = ending(schema)
    schemas = (schema, EveryCommand) if last else (schema, EveryCommand, Overrides)
    markers = (tyro.conf.DisallowNone, tyro.conf.HelptextFromCommentsOff)
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            found: Any = tyro.cli(
                _view(*schemas),
                args=arguments,
                prog=prog or Path(sys.argv[0]).name,
                description=description,
                return_unknown_args=True,
                use_underscores=True,
                config=markers,
            )
    except SystemExit as end:
        if not end.code:
            raise
        raise InputError(_first_paragraph(said.getvalue())) from None
    parsed, rest = found
    given = _given(parsed)
    return given, [*given.pop(last or "overrides", []), *rest]


def ending(schema: Any) -> str | None:
    """The name of a command's own option that takes all remaining words."""
    words = (each for each in fields(schema) if each.metadata.get("positional") and get_origin(each.type) is list)
    return next((each.name for each in words), None)


def _view(*schemas: Any, short: bool = False) -> Any:
    """The options as tyro is to see them: None until they are given, and a command's own before inherited ones.

    Args:
        schemas: classes of options; or a section with its values, which are the defaults then.
        short: the flags have short names too, without the section's.
    """
    seen: list[Any] = []
    for schema in schemas:
        hints = get_type_hints(schema)
        for declared in sorted(fields(schema), key=lambda each: each.name not in schema.__annotations__):
            kind = hints[declared.name]
            if is_dataclass(kind):
                section = _view(declared.default_factory(), short=declared.metadata["short"])  # type: ignore[operator]
                seen.append((declared.name, section, field(default_factory=section)))
            elif "help" in declared.metadata:
                made = MISSING if declared.default_factory is MISSING else declared.default_factory()
                default = getattr(schema, declared.name, made)
                seen.append((declared.name, _annotated(declared, kind, default, short), field(default=None)))
    return make_dataclass("Options", seen)


def _annotated(declared: Field, kind: Any, default: Any, short: bool) -> Any:
    """An option's type with what tyro needs to know of it."""
    import tyro

    metadata, is_list = declared.metadata, get_origin(kind) is list
    plain: Any = list[str] if is_list else next(k for k in (*get_args(kind), kind) if k is not types.NoneType)
    choices = f"{{{','.join(metadata['choices'])}}}" if metadata["choices"] else None
    default = ",".join(map(str, default)) if is_list else default
    hint = "" if default is False or default in (None, "") else f"(default: {default})"
    settings = tyro.conf.arg(
        help=metadata["help"],
        metavar=metadata.get("metavar") or choices or ("A,B" if is_list else None),
        help_behavior_hint="(required)" if default is MISSING else hint,
        aliases=(f"--{declared.name}",) if short else None,
    )
    shown: Any = Annotated[plain | None, settings]
    return Annotated[shown, tyro.conf.Positional] if metadata.get("positional") else shown


def _given(parsed: Any, prefix: str = "") -> dict[str, Any]:
    given: dict[str, Any] = {}
    for name, value in vars(parsed).items():
        if is_dataclass(value):
            given |= _given(value, f"{prefix}{name}.")
        elif value is not None:
            given[prefix + name] = value
    return given


def _first_paragraph(box: str) -> str:
    """What tyro says, without the frame around it and the advice below it."""
    lines = [line.strip(" │|") for line in box.splitlines()[1:]]
    end = next((index for index, line in enumerate(lines) if set(line) <= {*"─-"}), len(lines))
    return " ".join(lines[:end]).rstrip(".")
