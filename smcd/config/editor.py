"""Options of `smcd edit`."""

from dataclasses import dataclass

from smcd.config.model import ModelConfig
from smcd.config.options import option


@dataclass
class EditConfig(ModelConfig):
    """Which project the box editor opens, with which model, and where it listens."""

    folder: str = option(
        "outputs/editor",
        "project: a folder as smcd animate reads it; made if it is not there",
        filled=True,
        positional=True,
        metavar="FOLDER",
    )
    port: int = option(8765, "port of the page; 0 takes a free one", low=0, high=65535)
    host: str | None = option(None, "listen for other machines too, at this address; the page then needs a token")
    browser: bool = option(True, "open the page in your browser")
