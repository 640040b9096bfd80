"""Ready phrase embeddings: the published JSON files, and the files that prepare_data writes."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from smcd.data.label_files import read_json
from smcd.runtime.errors import InputError, first_line
from smcd.runtime.files import new_file


class PhraseEmbeddings:
    """Embeddings of phrases by name, from one or several files (the first that has a phrase gives it).

    A file is `obj_embedding.json` ({phrase: [[C floats]]}), `annotations_info_with_cat_emb.json` (the same below
    "category_embedding"), or a .safetensors of `write_phrases`.

    Args:
        paths: of the files.
        encoder: hash of the text encoder that they should come from; only .safetensors know it.

    Raises:
        InputError: a file that cannot be read, or files of different widths or encoders.
    """

    def __init__(self, paths: Iterable[Path], encoder: str | None = None):
        self._paths = [Path(path) for path in paths]
        self._rows: dict[str, tuple[int, int]] = {}
        self._tables: list[Tensor] = []
        for number, path in enumerate(self._paths):
            phrases, table = read_phrases(path)
            if encoder is not None and encoder_of(path) not in (None, encoder):
                raise InputError(f"{path}: was made with another text encoder; run scripts/prepare_data.py --overwrite")
            self._tables.append(table)
            for row, phrase in enumerate(phrases):
                self._rows.setdefault(phrase, (number, row))
        widths = {table.shape[1]: path for table, path in zip(self._tables, self._paths, strict=True)}
        if len(widths) > 1:
            parts = ", ".join(f"{path}: {width}" for width, path in widths.items())
            raise InputError(f"phrase embeddings have different widths ({parts}); prepare them with one text encoder")
        self.width = next(iter(widths), 0)

    def __call__(self, phrases: Sequence[str], where: str = "") -> Tensor:
        """Embeddings N C, float32; zeros for empty phrases. Raises an InputError for a phrase that is in no file."""
        embeddings = torch.zeros(len(phrases), self.width)
        for n, phrase in enumerate(phrases):
            if not phrase:
                continue
            if phrase not in self._rows:
                files = ", ".join(map(str, self._paths))
                raise InputError(
                    f"{where}: {phrase!r} is not among the phrase embeddings of {files}; prepare them anew"
                )
            number, row = self._rows[phrase]
            embeddings[n] = self._tables[number][row].float()
        return embeddings


def read_phrases(path: Path) -> tuple[list[str], Tensor]:
    """Phrases and their embeddings (P C) from a file. Raises an InputError where it is not such a file."""
    if path.suffix != ".safetensors":
        content = read_json(path)
        try:
            content = content.get("category_embedding", content)
            vectors = [torch.tensor(vector, dtype=torch.float32).reshape(-1) for vector in content.values()]
            return list(content), torch.stack(vectors)
        except (AttributeError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"{path}: is no file of phrase embeddings ({first_line(error)})") from None
    try:
        with safe_open(path, "pt") as file:
            phrases = bytes(file.get_tensor("phrases").numpy()).decode().split("\0")
            return phrases, file.get_tensor("embeddings")  # memory-mapped: only the rows that are used are read
    except (OSError, SafetensorError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is no file of phrase embeddings ({first_line(error)})") from None


def encoder_of(path: Path) -> str | None:
    """Hash of the text encoder that a .safetensors of phrases was made with; None for files that do not say."""
    if path.suffix != ".safetensors":
        return None
    with safe_open(path, "pt") as file:
        return (file.metadata() or {}).get("text_encoder")


def write_phrases(path: Path, phrases: Sequence[str], embeddings: Tensor, encoder: str) -> None:
    """Phrases with their embeddings (P C) as .safetensors; `encoder` is the hash of the text encoder's weights."""
    names = torch.frombuffer(bytearray("\0".join(phrases).encode()), dtype=torch.uint8)
    with new_file(path) as temporary:
        save_file({"phrases": names, "embeddings": embeddings.contiguous()}, temporary, {"text_encoder": encoder})
