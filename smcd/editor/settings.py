"""The settings of the page, and the options of `smcd animate` that they are."""

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from smcd.config import CustomizeConfig, ModelConfig, SamplingConfig, check, read_config, yaml_text
from smcd.runtime.errors import InputError
from smcd.runtime.files import new_file

_LONGEST = 10_000  # characters of a prompt
_SAMPLING = {"num_frames": "video_length"} | {  # settings by the names that these options have in `validation_data`
    name: name for name in ("width", "height", "num_inference_steps", "guidance_scale")
}


@dataclass
class Settings:
    """What the page asks for; None for guidance and size means the model's own."""

    prompt: str
    num_frames: int
    num_inference_steps: int
    seed: int
    guidance_scale: float | None
    width: int | None
    height: int | None
    fps: float

    @classmethod
    def of(cls, config: CustomizeConfig) -> "Settings":
        sampling = {own: getattr(config.validation_data, option) for own, option in _SAMPLING.items()}
        return cls(prompt=config.prompt or "", seed=config.seed, fps=config.fps, **sampling)

    @classmethod
    def parse(cls, content: Any) -> "Settings":
        """The settings that JSON gives. Raises an InputError for a missing one, another type, or out of bounds."""
        if not isinstance(content, dict) or content.keys() != {each.name for each in fields(cls)}:
            raise InputError(f"settings should hold {', '.join(each.name for each in fields(cls))}")
        for each in fields(cls):
            kinds: Any = each.type
            kinds = kinds | int if kinds in (float, float | None) else kinds
            if isinstance(content[each.name], bool) or not isinstance(content[each.name], kinds):
                raise InputError(f"{each.name} is {str(content[each.name])[:40]!r}, which is of another type")
        if len(content["prompt"]) > _LONGEST:
            raise InputError(f"the prompt is longer than {_LONGEST} characters")
        settings = cls(**content)
        prompt = settings.prompt.strip() or "yet to be typed"
        check(settings.config(ModelConfig(), Path("."), Path("out"), prompt=prompt))
        return settings

    def with_options(self, sampling: SamplingConfig) -> "Settings":
        """These settings, with those of the command line that are not what they are by default."""
        given = {own: getattr(sampling, option) for own, option in _SAMPLING.items()}
        default = {own: getattr(SamplingConfig(), option) for own, option in _SAMPLING.items()}
        return replace(self, **{own: value for own, value in given.items() if value != default[own]})

    def config(self, model: ModelConfig, folder: Path, out: Path, **changes: Any) -> CustomizeConfig:
        """The options with which `smcd animate` makes of `folder` what the editor makes."""
        options = {each.name: getattr(model, each.name) for each in fields(ModelConfig)}
        options["validation_data"] = SamplingConfig(**{_SAMPLING[own]: getattr(self, own) for own in _SAMPLING})
        own = {"prompt": self.prompt, "seed": self.seed, "fps": self.fps}
        return CustomizeConfig(**options | {"input_data_path": str(folder), "output_dir": str(out)} | own | changes)


def read_settings(path: Path) -> Settings:
    """The settings in a `config.yaml`. Raises an InputError if it holds something else."""
    try:
        return Settings.parse(asdict(Settings.of(read_config(CustomizeConfig, path))))
    except InputError as error:
        raise InputError(str(error) if str(path) in str(error) else f"{path}: {error}") from None


def write_config(path: Path, config: CustomizeConfig) -> None:
    """Write a `config.yaml`, whole or not at all."""
    with new_file(path) as temporary:
        temporary.write_text(yaml_text(asdict(config)), encoding="utf-8")
