"""Options of `inference_customize.py`."""

from dataclasses import dataclass

from smcd.config.model import ModelConfig
from smcd.config.options import option


@dataclass
class CustomizeConfig(ModelConfig):
    """What `inference_customize.py` can be told."""

    input_data_path: str | None = option(None, "folder with img.png and bbox.txt or objects.json")
    prompt: str | None = option(None, "what happens in the video")
    object: str | None = option(None, "what the object of bbox.txt is called; otherwise the whole prompt")
    output_dir: str = option("outputs/customize", "folder for the video")
    seed: int = option(33, "of the first video")
    num_videos: int = option(1, "videos, with seeds seed, seed + 1, ...; each in its own folder")
    fps: float = option(8.0, "frames a second in the written videos")
    format: str = option("gif,mp4", "any of gif, mp4, png, separated by commas")
