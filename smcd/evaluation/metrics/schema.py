"""The one check of manifests and reports, which may be anyone's: the types and ranges that they are declared with."""

from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    FailFast,
    Field,
    Strict,
    StrictBool,
    StrictInt,
    TypeAdapter,
    ValidationError,
    create_model,
)

from smcd.evaluation.metrics.columns import COLUMNS
from smcd.runtime.errors import InputError
from smcd.runtime.files import read_json

Name = Annotated[str, Field(max_length=300)]  # what stands in a cell of a table: a name, a label, a hash
FolderName = Annotated[Name, Field(pattern=r"^[^/\\]+$")]
Text = Annotated[str, Field(max_length=20_000)]
Texts = Annotated[dict[Name, Text], Field(max_length=100)]
Count = Annotated[int, Strict(), Field(ge=0, le=10**9)]
Side = Annotated[int, Strict(), Field(ge=1, le=65_536)]  # pixels
Number = Annotated[StrictInt | Annotated[float, Strict()], Field(ge=-1e9, le=1e9)]  # not NaN; an integer stays one
Schema = TypeVar("Schema")
Line = Annotated[list[Annotated[Number, Field(ge=0, le=1)] | None], Field(max_length=10_000)]  # over frames


class _Manifest(BaseModel):
    dataset: Name
    sha256: Name
    height: Side
    width: Side
    clips: Count
    conventions: Texts


class _Scored(BaseModel):
    clips: Count


class _Column(BaseModel):
    name: Name
    label: Name
    needs: Name
    digits: Annotated[int, Strict(), Field(ge=0, le=10)]
    higher_is_better: StrictBool


class _Statistic(BaseModel):
    mean: Number


_VALUES: dict[str, Any] = {column.name: (Number | None, None) for column in COLUMNS}
_WEIGHTS: dict[str, Any] = {column.weight: (Count | None, None) for column in COLUMNS if column.weight}
_Row = create_model("_Row", sequence=(FolderName, ...), static_ao=(Number | None, None), **_VALUES, **_WEIGHTS)


def _weighted(row: Any) -> Any:
    """A row whose values have their weights in the mean."""
    for column in COLUMNS:
        if column.weight and getattr(row, column.name) is not None and getattr(row, column.weight) is None:
            raise ValueError(f"{column.weight} is missing")
    return row


class ComparedReport(BaseModel):
    """What a comparison reads of a report."""

    name: Name
    manifest: _Manifest
    scored: _Scored
    columns: Annotated[list[_Column], Field(max_length=100)]
    summary: dict[Name, _Statistic]
    models: Annotated[dict[Name, dict[Name, Text]], Field(max_length=20)]
    iou_over_time: Annotated[dict[Name, Line], Field(max_length=10)]
    clips: Annotated[list[Annotated[_Row, AfterValidator(_weighted)]], FailFast()]  # type: ignore[valid-type]


def read_formatted(path: Path, what: str, form: str, schema: type[Schema]) -> tuple[dict[str, Any], Schema]:
    """A JSON object whose "format" is `form`, and the same as a `schema`, which may leave out some of its entries.

    Raises an InputError if the file is missing or is something else, or names the first entry that does not fit.
    """
    content = read_json(path, object)
    if not isinstance(content, dict) or content.get("format") != form:
        raise InputError(f"{path}: is no {what} (its format should be {form!r})")
    try:
        return content, TypeAdapter(schema).validate_python(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place, complaint = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
        raise InputError(f"{path}: {f'{place}: ' if place else ''}{complaint}") from None
