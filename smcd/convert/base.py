"""The text-to-video model underneath: VAE, text encoder and tokenizer from a diffusers or a ModelScope folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL
from transformers import CLIPTextModel, CLIPTokenizer

from smcd.convert import modelscope
from smcd.convert.files import local_folder
from smcd.errors import InputError

_PARTS = ("vae", "text_encoder")
_DOWNLOADED = ["*.json", "vae/*", "text_encoder/*", "tokenizer/*", modelscope.VAE_FILE, modelscope.TEXT_FILE]


@dataclass(frozen=True)
class Base:
    """Where the parts that are not SMCD's own come from.

    Attributes:
        folder: of diffusers' layout (`vae/ text_encoder/ tokenizer/`) or of ModelScope's.
        tokenizer_folder: the same one, or another for ModelScope's, which has no tokenizer.
    """

    folder: Path
    tokenizer_folder: Path

    @classmethod
    def find(cls, base: str, tokenizer: str | None = None) -> "Base":
        """From folders or hub ids; raises an InputError that says what is missing."""
        folder = local_folder(base, _DOWNLOADED)
        missing = [part for part in _PARTS if not (folder / part).is_dir()]
        if modelscope.is_modelscope(folder):
            if tokenizer is None:
                raise InputError(
                    f"{folder}: a ModelScope folder has no tokenizer: name a folder or hub id that has one "
                    "(--tokenizer, for example ali-vilab/text-to-video-ms-1.7b)"
                )
        elif missing:
            raise InputError(f"{folder}: not a text-to-video folder: it has no {missing[0]}/, and no ModelScope files")
        return cls(folder, local_folder(tokenizer, ["*.json", "*.txt", "tokenizer/*"]) if tokenizer else folder)

    def vae(self) -> AutoencoderKL:
        if modelscope.is_modelscope(self.folder):
            return modelscope.load_vae(self.folder)
        return _load(AutoencoderKL, self.folder, "vae").eval()

    def text_encoder(self) -> CLIPTextModel:
        if modelscope.is_modelscope(self.folder):
            return modelscope.load_text_encoder(self.folder)
        return _load(CLIPTextModel, self.folder, "text_encoder").eval()

    def tokenizer(self) -> CLIPTokenizer:
        subfolder = "tokenizer" if (self.tokenizer_folder / "tokenizer").is_dir() else ""
        return _load(CLIPTokenizer, self.tokenizer_folder, subfolder)


def _load(kind: Any, folder: Path, subfolder: str) -> Any:
    try:
        return kind.from_pretrained(folder, subfolder=subfolder)
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{folder / subfolder}: no {kind.__name__} can be loaded ({reason})") from error
