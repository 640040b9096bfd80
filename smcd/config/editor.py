"""Options of `smcd edit` and `smcd track`."""

from dataclasses import MISSING, dataclass

from smcd.config.customize import CustomizeConfig
from smcd.config.model import ModelConfig
from smcd.config.options import option
from smcd.runtime.errors import InputError

_SAM2 = "folder or hub id of SAM 2, to follow objects with it; otherwise OpenCV's CSRT"
_DETECTOR = "google/owlv2-base-patch16-ensemble"
_FINDS = "folder or hub id of an OWLv2 or a Grounding DINO, which finds objects by words"


@dataclass
class EditConfig(ModelConfig):
    """Which project the box editor opens, with which model, and where it listens."""

    shares_files_with = CustomizeConfig
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
    sam2: str | None = option(None, _SAM2)
    detector: str = option(_DETECTOR, _FINDS)


@dataclass
class TrackConfig:
    """Which objects of a video are followed, and where their boxes go."""

    video: str = option(MISSING, "video file, or folder of its frames", positional=True, metavar="VIDEO")
    out: str | None = option(None, "project folder that gets the boxes, made with the first frame if it is not there")
    box: list[float] = option([], "the object's box in the first frame, x1,y1,x2,y2 in pixels")
    object: str | None = option(None, "name of the object in the box")
    find: list[str] = option([], "find these objects in the first frame instead, by words such as red car,dog")
    detector: str = option(_DETECTOR, _FINDS)
    sam2: str | None = option(None, _SAM2)
    first: int = option(0, "first frame to use", low=0)
    last: int | None = option(None, "last frame to use; by default that of the video", low=0)
    video_length: int = option(8, "frames of the video to be made, over which the motion is spread", low=1, high=10_000)
    tolerance: float = option(2.0, "pixels that the key frames may differ from the path", low=0)
    annotate: bool = option(False, "VIDEO is a folder of videos for training: fill its annotations.json")

    def check_together(self) -> None:
        if self.annotate == (self.out is not None):
            raise InputError("name the project folder, --out FOLDER, or --annotate a folder of videos")
        if bool(self.box) == bool(self.find):
            raise InputError('draw a box, --box x1,y1,x2,y2 --object "red car", or name what to find, --find "red car"')
        if self.box and (len(self.box) != 4 or self.box[2] <= self.box[0] or self.box[3] <= self.box[1]):
            raise InputError(f"--box is {self.box}; it should be x1,y1,x2,y2 with x2 > x1 and y2 > y1")
        if bool(self.box) != bool(self.object and self.object.strip()):
            raise InputError('--box and --object "red car" go together; what --find finds has its name already')
        if self.annotate and self.box:
            raise InputError("--annotate is for many videos: name what to find in them, --find, in place of --box")
