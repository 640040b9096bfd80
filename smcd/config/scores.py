"""Options of `smcd score` and `smcd compare`."""

from dataclasses import MISSING, dataclass
from pathlib import Path

from smcd.config.options import option
from smcd.runtime.errors import InputError


@dataclass
class ScoreConfig:
    """Which videos are scored, against what, and by which models."""

    pred: str = option(
        MISSING,
        "the videos: a folder, mp4 or gif for each clip; or these in folders seed_*/",
        folder=True,
        metavar="FOLDER",
    )
    truth: str = option(MISSING, "true videos and boxes, or a manifest", metavar="FOLDER|MANIFEST")
    out: str = option(MISSING, "new folder for the report", metavar="REPORT", filled=True)
    name: str | None = option(None, "name of the method in tables; otherwise the folder's")
    allow_partial: bool = option(False, "score the clips that are there, where others are missing")
    tracker: str = option("csrt", "tracker that follows the objects in the videos", ("csrt", "sam2", "none"))
    sam2: str = option("facebook/sam2.1-hiera-large", "folder or hub id, for the tracker sam2")
    clip: str = option("openai/clip-vit-base-patch32", "folder or hub id, or none")
    dino: str = option("facebook/dino-vits16", "folder or hub id, or none")
    fvd_weights: str | None = option(None, "I3D as TorchScript; without it there is no FVD", metavar="FILE")
    device: str | None = option(None, "device of the models; otherwise cuda where there is one")

    def check_together(self) -> None:
        if not Path(self.truth).exists():
            raise InputError(f"{self.truth}: cannot be read (there is no such folder or manifest)")


@dataclass
class CompareConfig:
    """Which reports stand in one table."""

    out: str = option(MISSING, "new folder for the comparison", metavar="REPORT", filled=True)
    reports: list[str] = option([], "reports to put into one table", positional=True, metavar="REPORT", filled=True)
    allow_partial: bool = option(False, "compare the clips that all reports have")
