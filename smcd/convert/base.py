"""The text-to-video model underneath: a diffusers or ModelScope folder, or a pipeline folder of this project."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, SchedulerMixin, UNet3DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from smcd.convert import modelscope
from smcd.convert.names import StateDict
from smcd.convert.published import read_unet
from smcd.convert.weight_files import local_folder
from smcd.runtime.errors import InputError, first_line
from smcd.runtime.files import read_json
from smcd.schedulers import make_scheduler

_DEFAULTS: dict[str, Any] = {"frame_height": int, "frame_width": int, "guidance_scale": int | float}
_DOWNLOADED = ["*.json", "vae/*", "text_encoder/*", "tokenizer/*", modelscope.VAE_FILE, modelscope.TEXT_FILE]
_UNET = ["unet/*", "position_net/*", "image_encoder/*", modelscope.UNET_FILE]


@dataclass(frozen=True)
class Base:
    """Where the parts that every text-to-video model has come from: VAE, text encoder, tokenizer, base UNet."""

    folder: Path  # in diffusers' layout, as pipelines of this project are, or in ModelScope's
    tokenizer_folder: Path  # the same one, or another for ModelScope's, which has no tokenizer

    @classmethod
    def find(cls, base: str, tokenizer: str | None = None, unet: bool = False) -> "Base":
        """The base in folders or hub repositories; the UNet is downloaded only if wanted. Raises an InputError."""
        folder = local_folder(base, [*_DOWNLOADED, *(_UNET if unet else [])])
        missing = [part for part in ("vae", "text_encoder") if not (folder / part).is_dir()]
        if modelscope.is_modelscope(folder):
            if tokenizer is None:
                fix = "name a folder or hub id that has one, --tokenizer ali-vilab/text-to-video-ms-1.7b"
                raise InputError(f"{folder}: a ModelScope folder has no tokenizer: {fix}")
        elif missing:
            raise InputError(f"{folder}: not a text-to-video folder: it has no {missing[0]}/, and no ModelScope files")
        return cls(folder, local_folder(tokenizer, ["*.json", "*.txt", "tokenizer/*"]) if tokenizer else folder)

    def vae(self) -> AutoencoderKL:
        if modelscope.is_modelscope(self.folder):
            return modelscope.load_vae(self.folder)
        return load_model(AutoencoderKL, self.folder, "vae").eval()

    def text_encoder(self) -> CLIPTextModel:
        if modelscope.is_modelscope(self.folder):
            return modelscope.load_text_encoder(self.folder)
        return load_model(CLIPTextModel, self.folder, "text_encoder").eval()

    def unet(self) -> StateDict:
        """The UNet's tensors by diffusers' names, float32."""
        if modelscope.is_modelscope(self.folder):
            return read_unet(self.folder / modelscope.UNET_FILE)
        return load_model(UNet3DConditionModel, self.folder, "unet", dtype=torch.float32).state_dict()

    def tokenizer(self) -> CLIPTokenizer:
        where = self.tokenizer_folder
        where = where / "tokenizer" if (where / "tokenizer").is_dir() else where
        if not (where / "tokenizer.json").is_file() and not (where / "vocab.json").is_file():
            raise InputError(f"{where}: holds no tokenizer (tokenizer.json, or vocab.json and merges.txt)")
        try:
            tokenizer = CLIPTokenizer.from_pretrained(where)
            words = tokenizer("a red car")["input_ids"][1:-1]
        except Exception as error:  # whatever a broken file makes of the library
            raise InputError(f"{where}: no tokenizer can be loaded ({first_line(error)})") from error
        if len(set(words)) < 2:
            raise InputError(f"{where}: this tokenizer knows no words: its files are not complete")
        return tokenizer

    def scheduler(self) -> SchedulerMixin:
        """The published noise schedule; or that of the folder, if it is a pipeline of this project."""
        if not is_own(self.folder):
            return make_scheduler()
        path = self.folder / "scheduler" / "scheduler_config.json"
        try:
            return make_scheduler(config=read_json(path))
        except Exception as error:  # whatever a broken file makes of the library
            raise InputError(f"{path}: no noise schedule can be loaded ({first_line(error)})") from error


def pipeline_index(folder: Path) -> dict[str, Any]:
    """The content of `model_index.json`; empty if there is no readable one."""
    try:
        return read_json(folder / "model_index.json")
    except InputError:
        return {}


def is_own(folder: Path) -> bool:
    """Whether it is a folder of an SMCDPipeline."""
    return pipeline_index(folder).get("_class_name") == "SMCDPipeline"


def own_defaults(folder: Path) -> dict[str, Any]:
    """Some of `frame_height`, `frame_width`, `guidance_scale`: the defaults of the SMCDPipeline in this folder, if any.

    Raises an InputError if one of them is not a number.
    """
    index = pipeline_index(folder) if is_own(folder) else {}
    given = {name: index[name] for name in _DEFAULTS if name in index}
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, _DEFAULTS[name]):
            raise InputError(f"{folder / 'model_index.json'}: {name} is {value!r}; it must be a number")
    return given


def load_model(kind: Any, folder: Path, subfolder: str, **options: Any) -> Any:
    """A model of diffusers or transformers; raises an InputError where tensors are missing or of another shape."""
    where = folder / subfolder
    try:
        model, info = kind.from_pretrained(folder, subfolder=subfolder, output_loading_info=True, **options)
    except Exception as error:  # whatever a broken file makes of the libraries
        raise InputError(f"{where}: no {kind.__name__} can be loaded ({first_line(error)})") from error
    wrong = [f"missing {name}" for name in sorted(info["missing_keys"])]
    wrong += [f"{entry} is of another shape" for entry in info["mismatched_keys"]]
    if kind.__module__.startswith("smcd."):  # other models' files may hold left-overs
        wrong += [f"unexpected {name}" for name in sorted(info["unexpected_keys"])]
    if wrong:
        raise InputError(f"{where}: {len(wrong)} tensors do not fit: {'; '.join(wrong)}")
    return model
