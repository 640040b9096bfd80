"""Files that training reads besides the datasets' own: phrase embeddings, held-out videos, captions, cached latents."""

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from smcd.data.clips import Video, VideoSource, read_frames
from smcd.data.gligen_tsv import GligenTSV
from smcd.data.latent_cache import CacheWriter
from smcd.data.phrases import as_table, read_phrases, write_phrases
from smcd.data.youtube_vis import Annotations, caption_of, held_out_names
from smcd.runtime.errors import InputError
from smcd.runtime.files import read_json, write_json

logger = logging.getLogger(__name__)

Embed = Callable[[Sequence[str]], Tensor]  # phrases -> N C, float32
_AT_ONCE = 256  # phrases through the text encoder
_COMPARED = 8  # phrases that tell whether a file is of this text encoder
_SAME = 0.05  # largest difference of embeddings that half precision makes
_BLOCK = 64  # frames of a video that are read together


def embed_all(phrases: Iterable[str], embed: Embed) -> dict[str, Tensor]:
    """Embeddings (C) of phrases, with a progress bar."""
    unique = sorted(set(phrases))
    parts = [unique[start : start + _AT_ONCE] for start in range(0, len(unique), _AT_ONCE)]
    found: dict[str, Tensor] = {}
    for part in tqdm(parts, "phrases", disable=len(parts) < 2):
        found |= dict(zip(part, embed(part).cpu(), strict=True))
    return found


def write_embeddings(
    path: Path,
    phrases: Iterable[str],
    embed: Embed,
    overwrite: bool,
    section: str | None = None,
    rest: dict[str, Any] | None = None,
) -> None:
    """Write, or complete, a published JSON of embeddings: {phrase: [[C floats]]}.

    Args:
        section: the key below which the embeddings lie in the file, if they do.
        rest: what a new file holds besides that section.

    Raises:
        InputError: there are no phrases, or the file is of another text encoder and `overwrite` is not set.
    """
    wanted = set(phrases)
    if not wanted:
        raise InputError(f"{path}: there is nothing to write: no clip is left of the dataset")
    known = read_json(path) if path.is_file() else {}
    old = known.get(section, {}) if section else known
    if old and not overwrite:
        some = list(old)[:_COMPARED]
        theirs, ours = as_table(path, [old[phrase] for phrase in some]), embed(some).cpu()
        if theirs.shape != ours.shape or (theirs - ours).abs().max() > _SAME:
            raise InputError(
                f"{path}: holds embeddings of another text encoder ({theirs.shape[1]} wide, this one's are "
                f"{ours.shape[1]}); keep both by moving it away, or set --overwrite"
            )
        if wanted <= old.keys():
            logger.info(f"{path}: has all {len(old)} phrases already")
            return
        wanted -= old.keys()
    else:
        old = {}
    table = old | {phrase: [vector.tolist()] for phrase, vector in embed_all(wanted, embed).items()}
    write_json(path, (known or rest or {}) | {section: table} if section else table)
    logger.info(f"wrote {path}")


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
        if name not in annotations.captions and annotations.tracks(name):
            try:
                missing[name] = caption_of([annotations.category(track) for track in annotations.tracks(name)])
            except InputError:
                if on_error != "skip":
                    raise
    info = {name: annotations.tracks(name) for name in annotations.names}
    embedded = root / "train" / "annotations_info_with_cat_emb.json"
    write_embeddings(embedded, annotations.categories, embed, overwrite, "category_embedding", info)
    write_json(root / "heldout.json", held_out_names(annotations.names), indent=1)
    if missing:
        write_json(captions, annotations.captions | missing, indent=1)
    plain = root / "train" / "annotations_info.json"
    if not plain.is_file():
        write_json(plain, info)
    logger.info(f"{root}: heldout.json, caption.json and {plain.name} are complete")


def prepare_gligen(
    dataset: GligenTSV, embed: Embed | None, encoder: str = "", on_error: str = "error", overwrite: bool = False
) -> dict[str, str]:
    """Read all rows of a set, and write `phrases.safetensors` (half precision) beside its .tsv files.

    Args:
        embed: None only reads.
        encoder: hash of the text encoder's weights, kept in the file.

    Returns:
        Broken rows, with the reason.

    Raises:
        InputError: a broken row, with `on_error` "error"; a file of another text encoder; nothing to write.
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
    if embed is None:
        return broken
    path = dataset.folder / "phrases.safetensors"
    if not phrases:
        raise InputError(f"{path}: there is nothing to write: no row of the dataset is left")
    if path.is_file() and not overwrite:
        known, _, made_with = read_phrases(path)
        if made_with != encoder:
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
                    means, stds = zip(*map(encode_frames, _blocks(source, index, size, resize)), strict=True)
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
    frames = range(len(source.video(index)))
    for start in range(0, len(frames), _BLOCK):
        yield torch.from_numpy(read_frames(source, index, frames[start : start + _BLOCK], *size, resize))
