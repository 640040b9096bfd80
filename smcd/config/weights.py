"""Options of `smcd convert` and `smcd export`."""

from dataclasses import MISSING, dataclass

from smcd.config.model import BASE, DTYPES
from smcd.config.options import option
from smcd.runtime.errors import InputError


@dataclass
class ConvertConfig:
    """Which weights become which."""

    source: str = option(MISSING, "published or pipeline folder, or hub id", positional=True, metavar="SOURCE")
    out: str = option(MISSING, "folder to write, which must not exist", positional=True, metavar="OUT")
    base: str = option(BASE, "diffusers text-to-video, ModelScope or pipeline folder, or hub id")
    tokenizer: str | None = option(None, "folder or hub id of a tokenizer, for a ModelScope base, which has none")
    dtype: str = option("float32", "precision of the written weights", DTYPES)
    to_published: bool = option(False, "convert a pipeline folder back to published files")

    def check_together(self) -> None:
        if self.to_published and self.dtype != "float32":
            raise InputError("--to_published writes float32, as the published files are: leave out --dtype")


@dataclass
class ExportConfig:
    """Which checkpoint of a training becomes a model."""

    checkpoint: str = option(
        MISSING,
        "folder checkpoint-N, or a run's output_dir, whose latest one is taken",
        folder=True,
        positional=True,
        metavar="CHECKPOINT",
    )
    out: str = option(MISSING, "folder to write, which must not exist", positional=True, metavar="OUT")
    published: bool = option(False, "write pytorch_model.bin, _1 and _2 instead of a pipeline folder")
    ema: bool = option(True, "take the running average of the weights, if there is one")
    dtype: str = option("float32", "precision of the weights; PositionNet stays in float32", DTYPES)
    overrides: list[str] = option([], "where weights that moved are now", positional=True, metavar="KEY=VALUE")

    def check_together(self) -> None:
        if self.published and self.dtype != "float32":
            raise InputError("--published writes float32, as the published files are: leave out --dtype")
