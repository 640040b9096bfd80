"""Files that training reads besides the datasets' own: phrase embeddings, held-out videos, captions, cached latents."""

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from smcd.data.clips import Video, VideoSource, read_frames
from smcd.data.gligen_tsv import GligenTSV
from smcd.data.label_files import read_json
from smcd.data.latent_cache import CacheWriter
from smcd.data.phrases import encoder_of, read_phrases, write_phrases
from smcd.data.youtube_vis import Annotations, caption_of, held_out_names
from smcd.runtime.errors import InputError
from smcd.runtime.files import new_file

logger = logging.getLogger(__name__)

Embed = Callable[[Sequence[str]], Tensor]  # phrases -> N C, float32
EMBEDDINGS = "obj_embedding.json"  # of GOT-10k's classes, and of own videos
YOUTUBE_VIS_EMBEDDINGS = "annotations_info_with_cat_emb.json"
GLIGEN_EMBEDDINGS = "phrases.safetensors"
HELD_OUT_LIST = "heldout.json"
_AT_ONCE = 256  # phrases through the text encoder
_COMPARED = 8  # phrases that tell whether a file is of this text encoder
_SAME = 0.05  # largest difference of embeddings that half precision makes
_BLOCK = 64  # frames of a video that are read together


def write_json(path: Path, content: Any, indent: int | None = None) -> None:
    """Write a JSON file whole or not at all."""
    with new_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=indent, ensure_ascii=False)
    logger.info(f"wrote {path}")


def embed_all(phrases: Iterable[str], embed: Embed) -> dict[str, Tensor]:
    """Embeddings (C) of phrases, with a progress bar."""
    unique = sorted(set(phrases))
    parts = [unique[start : start + _AT_ONCE] for start in range(0, len(unique), _AT_ONCE)]
    found: dict[str, Tensor] = {}
    for part in tqdm(parts, "phrases", disable=len(parts) < 2):
        found |= dict(zip(part, embed(part).cpu(), strict=True))
    return found


def add_embeddings(path: Path, old: dict[str, Any], phrases: Iterable[str], embed: Embed, overwrite: bool) -> dict:
    """A published table of embeddings, {phrase: [[C floats]]}, completed.

    Args:
        path, old: the file that it is in, and what it holds of it now.

    Raises:
        InputError: there are no phrases, or the table is of another text encoder and `overwrite` is not set.
    """
    wanted = set(phrases)
    if not wanted:
        raise InputError(f"{path}: there is nothing to write: no clip is left of the dataset")
    if overwrite:
        old = {}
    elif old:
        some = list(old)[:_COMPARED]
        try:
            table = torch.tensor([old[phrase] for phrase in some], dtype=torch.float32).flatten(1)
        except (TypeError, ValueError) as error:
            raise InputError(f"{path}: is no file of phrase embeddings ({error})") from None
        mine = embed(some).cpu()
        if table.shape != mine.shape or (table - mine).abs().max() > _SAME:
            raise InputError(
                f"{path}: holds embeddings of another text encoder ({table.shape[1]} wide, this one's are "
                f"{mine.shape[1]}); keep both by moving it away, or set --overwrite"
            )
    new = embed_all(wanted - old.keys(), embed)
    return old | {phrase: [vector.tolist()] for phrase, vector in new.items()}


def write_embeddings(path: Path, phrases: Iterable[str], embed: Embed, overwrite: bool) -> None:
    """Write, or complete, a published JSON of embeddings; see `add_embeddings`."""
    old = read_json(path) if path.is_file() else {}
    table = add_embeddings(path, old, phrases, embed, overwrite)
    if table == old:
        logger.info(f"{path}: has all {len(old)} phrases already")
    else:
        write_json(path, table)


def prepare_youtube_vis(root: Path, embed: Embed, overwrite: bool, on_error: str) -> None:
    """`heldout.json`, missing entries of `caption.json`, `annotations_info.json` with and without embeddings.

    Args:
        root: the folder youvis.

    Raises:
        InputError: a broken annotation, with `on_error` "error".
    """
    captions = root / "caption.json"
    annotations = Annotations(root / "train" / "instances.json", captions)
    missing = {}
    for name in annotations.names:
        if not annotations.has_caption(name) and annotations.tracks(name):
            try:
                missing[name] = caption_of([annotations.category(track) for track in annotations.tracks(name)])
            except InputError:
                if on_error != "skip":
                    raise
    embedded = root / "train" / YOUTUBE_VIS_EMBEDDINGS
    known = read_json(embedded) if embedded.is_file() else {}
    section = "category_embedding"
    table = add_embeddings(embedded, known.get(section, {}), annotations.categories, embed, overwrite)
    write_json(root / HELD_OUT_LIST, held_out_names(annotations.names), indent=1)
    if missing:
        write_json(captions, (read_json(captions) if captions.is_file() else {}) | missing, indent=1)
    plain = root / "train" / "annotations_info.json"
    info = {name: annotations.tracks(name) for name in annotations.names}
    if not plain.is_file():
        write_json(plain, info)
    if table == known.get(section):
        logger.info(f"{embedded}: has all {len(table)} categories already")
    else:
        write_json(embedded, (known or info) | {section: table})


def check_rows(dataset: GligenTSV, on_error: str = "error") -> tuple[set[str], dict[str, str]]:
    """All phrases of a GLIGEN set, and its broken rows with the reason.

    Raises:
        InputError: a broken row, with `on_error` "error".
    """
    phrases: set[str] = set()
    broken = dict(dataset.dropped)
    for index in tqdm(range(len(dataset)), dataset.name, unit="row"):
        try:
            phrases.update(dataset.phrases(index))
        except InputError as error:
            if on_error != "skip":
                raise
            broken[str(index + 1)] = str(error)
    return phrases, broken


def prepare_gligen(
    dataset: GligenTSV, embed: Embed, encoder: str, on_error: str = "error", overwrite: bool = False
) -> dict[str, str]:
    """`phrases.safetensors` (half precision) beside the .tsv files of a set, from the captions' `tokens_positive`.

    Args:
        encoder: hash of the text encoder's weights, kept in the file.

    Returns:
        Broken rows, with the reason.

    Raises:
        InputError: a broken row, with `on_error` "error"; a file of another text encoder; nothing to write.
    """
    phrases, broken = check_rows(dataset, on_error)
    path = dataset.folder / GLIGEN_EMBEDDINGS
    if not phrases:
        raise InputError(f"{path}: there is nothing to write: no row of the dataset is left")
    if path.is_file() and not overwrite:
        known, _ = read_phrases(path)
        if encoder_of(path) != encoder:
            raise InputError(f"{path}: holds embeddings of another text encoder; move it away, or set --overwrite")
        if phrases <= set(known):
            logger.info(f"{path}: has all {len(phrases)} phrases already")
            return broken
    vectors = embed_all(phrases, lambda part: embed(part).half())
    write_phrases(path, list(vectors), torch.stack(list(vectors.values())), encoder)
    logger.info(f"wrote {path}")
    return broken


def cache_latents(
    writer: CacheWriter,
    shards: Sequence[int],
    encode_frames: Callable[[Tensor], tuple[Tensor, Tensor]],
    encode_texts: Callable[[Video], dict[str, Tensor]],
    size: tuple[int, int],
    resize: str,
    on_error: str = "error",
) -> None:
    """Write shards of the cache, a video at a time, a block of its frames at a time.

    Args:
        encode_frames: frames (F H W 3, uint8) -> mean and standard deviation of their latents (4 F h w).
        encode_texts: a video -> `text`, embeddings of its prompt (77 C), and `phrase_embeddings` (N C); or nothing.
        size: height and width.

    Raises:
        InputError: a broken video, with `on_error` "error"; shards written before are kept.
    """
    source = writer.source
    with tqdm(total=sum(len(writer.shards[shard]) for shard in shards), desc=source.name, unit="video") as bar:
        for shard in shards:
            videos: dict[str, dict[str, Tensor] | str] = {}
            for index in writer.shards[shard]:
                video = source.video(index)
                try:
                    blocks = _blocks(source, index, size, resize)
                    means, stds = zip(*map(encode_frames, blocks), strict=True)
                except InputError as error:
                    if on_error != "skip":
                        raise
                    videos[video.name] = str(error)
                else:
                    latents = {"latent_mean": torch.cat(means, dim=1), "latent_std": torch.cat(stds, dim=1)}
                    videos[video.name] = latents | encode_texts(video)
                bar.update()
            writer.write(shard, videos)


def _blocks(source: VideoSource, index: int, size: tuple[int, int], resize: str) -> Iterable[Tensor]:
    """A video's frames, some at a time: F H W 3."""
    length = len(source.video(index))
    for start in range(0, length, _BLOCK):
        frames = range(start, min(start + _BLOCK, length))
        yield torch.from_numpy(read_frames(source, index, frames, *size, resize))
