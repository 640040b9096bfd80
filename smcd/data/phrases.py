"""Ready phrase embeddings: the published JSON files, and the files that the prepare command writes."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from smcd.runtime.errors import InputError, first_line
from smcd.runtime.files import new_file, read_json


class PhraseEmbeddings:
    """Embeddings of phrases by name, from one or several files (the first that has a phrase gives it).

    A file is `obj_embedding.json` ({phrase: [[C floats]]}), `annotations_info_with_cat_emb.json` (the same below
    "category_embedding"), or a .safetensors of `write_phrases`, which also knows the hash of its text `encoder`.

    Raises an InputError for a file that cannot be read, or files of different widths or encoders.
    """

    def __init__(self, paths: Sequence[Path], encoder: str | None = None):
        self._rows: dict[str, tuple[Tensor, int]] = {}
        widths: dict[int, Path] = {}
        for path in paths:
            phrases, table, made_with = read_phrases(path)
            if encoder is not None and made_with not in (None, encoder):
                raise InputError(f"{path}: was made with another text encoder; run smcd prepare --overwrite")
            widths[table.shape[1]] = path
            self._rows = {phrase: (table, row) for row, phrase in enumerate(phrases)} | self._rows
        if len(widths) > 1:
            parts = ", ".join(f"{path}: {width}" for width, path in widths.items())
            raise InputError(f"phrase embeddings have different widths ({parts}); prepare them with one text encoder")
        self.width = next(iter(widths), 0)
        self._files = ", ".join(map(str, paths))

    def __call__(self, phrases: Sequence[str], where: str = "") -> Tensor:
        """Embeddings N C, float32; zeros for empty phrases. Raises an InputError for a phrase that is in no file."""
        embeddings = torch.zeros(len(phrases), self.width)
        for n, phrase in enumerate(phrases):
            if phrase and phrase not in self._rows:
                raise InputError(f"{where}: {phrase!r} is not among the phrase embeddings of {self._files}; prepare it")
            if phrase:
                table, row = self._rows[phrase]
                embeddings[n] = table[row]
        return embeddings


def read_phrases(path: Path) -> tuple[list[str], Tensor, str | None]:
    """Phrases, their embeddings (P C) and the hash of their text encoder (None if the file does not say).

    Raises an InputError for another kind of file.
    """
    if path.suffix != ".safetensors":
        content = read_json(path)
        content = content.get("category_embedding", content)
        return list(content), as_table(path, content.values()), None
    try:
        with safe_open(path, "pt") as file:
            phrases = bytes(file.get_tensor("phrases").numpy()).decode().split("\0")
            # the embeddings are memory-mapped: only the rows that are used are read
            return phrases, file.get_tensor("embeddings"), (file.metadata() or {}).get("text_encoder")
    except (OSError, SafetensorError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is not a file of phrase embeddings ({first_line(error)})") from None


def as_table(path: Path, vectors: Iterable[Any]) -> Tensor:
    """Vectors of a published JSON (each [[C floats]]) as a tensor P C. Raises an InputError if they are none."""
    try:
        return torch.stack([torch.tensor(vector, dtype=torch.float32).reshape(-1) for vector in vectors])
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: is not a file of phrase embeddings ({first_line(error)})") from None


def write_phrases(path: Path, phrases: Sequence[str], embeddings: Tensor, encoder: str) -> None:
    """Phrases with their embeddings (P C) as .safetensors; `encoder` is the hash of the text encoder's weights."""
    names = torch.frombuffer(bytearray("\0".join(phrases).encode()), dtype=torch.uint8)
    with new_file(path) as temporary:
        save_file({"phrases": names, "embeddings": embeddings.contiguous()}, temporary, {"text_encoder": encoder})
