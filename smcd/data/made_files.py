"""Files that training reads besides the datasets' own: phrase embeddings, held-out videos and captions."""

import logging
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from smcd.data.phrases import as_table, read_phrases, write_phrases
from smcd.data.youtube_vis import Annotations, caption_of, held_out_names
from smcd.runtime.errors import InputError
from smcd.runtime.files import read_json, write_json

logger = logging.getLogger(__name__)

Embed = Callable[[Collection[str]], dict[str, Tensor]]  # phrases -> embeddings (C, float32), sorted by phrase
_INSTEAD = "keep both by moving it away, or set --overwrite"
_COMPARED = 8  # phrases that tell whether a file is of this text encoder
_SAME = 0.05  # largest difference of embeddings that half precision makes


def write_embeddings(
    path: Path,
    phrases: Collection[str],
    embed: Embed,
    overwrite: bool,
    section: str | None = None,
    rest: dict[str, Any] | None = None,
) -> None:
    """Write, or complete, a published JSON of embeddings: {phrase: [[C floats]]}.

    They may lie below the key `section`; then `rest` is what a new file holds besides. Raises an InputError if there
    are no phrases, or the file is of another text encoder and `overwrite` is not set.
    """
    wanted = set(phrases)
    if not wanted:
        raise InputError(f"{path}: there is nothing to write: no clip is left of the dataset")
    known = read_json(path) if path.is_file() else {}
    old = {} if overwrite else known.get(section, {}) if section else known
    if old:
        some = sorted(old)[:_COMPARED]
        theirs, ours = as_table(path, [old[phrase] for phrase in some]), torch.stack([*embed(some).values()])
        if theirs.shape != ours.shape or (theirs - ours).abs().max() > _SAME:
            widths = f"{theirs.shape[1]} wide, this one's are {ours.shape[1]}"
            raise InputError(f"{path}: holds embeddings of another text encoder ({widths}); {_INSTEAD}")
        wanted -= old.keys()
        if not wanted:
            logger.info(f"{path}: has all {len(old)} phrases already")
            return
    table = old | {phrase: [vector.tolist()] for phrase, vector in embed(wanted).items()}
    write_json(path, (known or rest or {}) | {section: table} if section else table)
    logger.info(f"wrote {path}")


def prepare_youtube_vis(path: Path, embed: Embed, overwrite: bool, on_error: str) -> None:
    """Write `heldout.json`, missing entries of `caption.json`, `annotations_info.json` with and without embeddings.

    `path` is that of `YouTubeVIS`. Raises an InputError for a broken annotation, with `on_error` "error".
    """
    annotations = Annotations(path)
    root = annotations.root
    info = {name: annotations.tracks(name) for name in annotations.names}
    missing = {}
    for name, tracks in info.items():
        if tracks and name not in annotations.captions:
            try:
                missing[name] = caption_of([annotations.category(track) for track in tracks])
            except InputError:
                if on_error != "skip":
                    raise
    embedded = annotations.folder / "annotations_info_with_cat_emb.json"
    write_embeddings(embedded, annotations.categories, embed, overwrite, "category_embedding", info)
    write_json(root / "heldout.json", held_out_names(annotations.names), indent=1)
    if missing:
        write_json(annotations.captions_path, annotations.captions | missing, indent=1)
    plain = annotations.folder / "annotations_info.json"
    if not plain.is_file():
        write_json(plain, info)
    logger.info(f"{root}: heldout.json, caption.json and {plain.name} are complete")


def prepare_gligen(folder: Path, phrases: set[str], embed: Embed, encoder: str, overwrite: bool) -> None:
    """Write the `phrases.safetensors` (half precision) of a set; `encoder` is the hash of the text encoder's weights.

    Raises an InputError as `write_embeddings` does.
    """
    path = folder / "phrases.safetensors"
    if not phrases:
        raise InputError(f"{path}: there is nothing to write: no row of the dataset is left")
    if path.is_file() and not overwrite:
        known, _, made_with = read_phrases(path)
        if made_with != encoder:
            raise InputError(f"{path}: holds embeddings of another text encoder; {_INSTEAD}")
        if phrases <= set(known):
            logger.info(f"{path}: has all {len(phrases)} phrases already")
            return
    vectors = embed(phrases)
    write_phrases(path, list(vectors), torch.stack(list(vectors.values())).half(), encoder)
    logger.info(f"wrote {path}")
