"""Options of `smcd animate` and `inference_customize.py`."""

from dataclasses import dataclass

from smcd.config.model import ModelConfig
from smcd.config.options import option
from smcd.runtime.errors import InputError
from smcd.runtime.files import encodable


@dataclass
class CustomizeConfig(ModelConfig):
    """What `smcd animate` can be told."""

    input_data_path: str | None = option(None, "folder with img.png and with bbox.txt or objects.json", folder=True)
    prompt: str | None = option(None, "what happens in the video")
    object: str | None = option(None, "name of the object in bbox.txt; if it is not given, the whole prompt")
    output_dir: str = option("outputs/customize", "folder that the video is written to", filled=True)
    seed: int = option(33, "seed of the first video", low=0, high=2**63 - 10_001)
    num_videos: int = option(1, "number of videos; seeds count up, and each gets a folder", low=1, high=10_000)
    fps: float = option(8.0, "frames per second in the written videos", low=0.1, high=50)  # what GIF plays
    format: list[str] = option(["gif", "mp4"], "formats to write", ("gif", "mp4", "png"), filled=True)

    def check_together(self) -> None:
        super().check_together()
        if not self.prompt or not self.prompt.strip():
            raise InputError('no prompt: say what happens in the video, --prompt "A red car drives to the right."')
        for name in ("prompt", "object", "negative_prompt"):
            if not encodable(getattr(self, name) or ""):
                raise InputError(f"the {name} holds bytes that are no text; type it again")
        if self.input_data_path is None:
            raise InputError("no input: give a folder with img.png and bbox.txt, --input_data_path FOLDER")
