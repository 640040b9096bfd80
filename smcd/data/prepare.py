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
from smcd.data.files import read_json
from smcd.data.gligen_tsv import GligenTSV
from smcd.data.latent_cache import CacheWriter
from smcd.data.phrases import read_phrases, write_phrases
from smcd.data.youtube_vis import Annotations, caption_of, held_out_names
from smcd.errors import InputError
from smcd.files import new_file
from smcd.key_frames import read_json as read_annotations

logger = logging.getLogger(__name__)

Embed = Callable[[Sequence[str]], Tensor]  # phrases -> N C, float32
GOT10K_EMBEDDINGS = "obj_embedding.json"
YOUTUBE_VIS_EMBEDDINGS = "annotations_info_with_cat_emb.json"
GLIGEN_EMBEDDINGS = "phrases.safetensors"
HELD_OUT_LIST = "heldout.json"
_AT_ONCE = 256  # phrases through the text encoder
_SAME = 0.05  # largest difference of embeddings that half precision makes


def write_json(path: Path, content: Any, indent: int | None = None) -> None:
    """Write a JSON file whole or not at all."""
    with new_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=indent, ensure_ascii=False), encoding="utf-8")
    logger.info(f"wrote {path}")


def embed_all(phrases: Iterable[str], embed: Embed) -> dict[str, Tensor]:
    """Embeddings (C) of phrases, with a progress bar."""
    unique = sorted(set(phrases))
    parts = [unique[start : start + _AT_ONCE] for start in range(0, len(unique), _AT_ONCE)]
    found: dict[str, Tensor] = {}
    for part in tqdm(parts, "phrases", disable=len(parts) < 2):
        found |= dict(zip(part, embed(part).cpu(), strict=True))
    return found


def write_embeddings(path: Path, phrases: Iterable[str], embed: Embed, overwrite: bool, section: str = "") -> None:
    """Write, or complete, a published JSON of embeddings: {phrase: [[C floats]]}, below `section` where there is one.

    Raises:
        InputError: the file holds embeddings of another text encoder, and `overwrite` is not set.
    """
    content = read_json(path) if path.is_file() else {}
    old = content.get(section, {}) if section else content
    new = embed_all(phrases, embed)
    if old and not overwrite:
        known, table = read_phrases(path)
        common = [(row, phrase) for row, phrase in enumerate(known) if phrase in new]
        width = next(iter(new.values())).shape[0]
        if table.shape[1] != width or any((table[row] - new[name]).abs().max() > _SAME for row, name in common):
            raise InputError(
                f"{path}: holds embeddings of another text encoder ({table.shape[1]} wide, this one's are {width}); "
                "keep both by moving it away, or set --overwrite"
            )
        if len(common) == len(new):
            logger.info(f"{path}: has all {len(new)} phrases already")
            return
    vectors = ({} if overwrite else old) | {phrase: [vector.tolist()] for phrase, vector in new.items()}
    write_json(path, content | {section: vectors} if section else vectors)


def prepare_youtube_vis(root: Path, embed: Embed, overwrite: bool) -> None:
    """`heldout.json`, missing entries of `caption.json`, `annotations_info.json` with and without embeddings.

    Args:
        root: the folder youvis.
    """
    captions = root / "caption.json"
    annotations = Annotations(root / "train" / "instances.json", captions)
    write_json(root / HELD_OUT_LIST, held_out_names(annotations.names), indent=1)
    missing = {}
    for name in annotations.names:
        phrases = [annotations.category(track) for track in annotations.tracks(name)]
        if phrases and not annotations.has_caption(name):
            missing[name] = caption_of(phrases)
    if missing:
        write_json(captions, (read_json(captions) if captions.is_file() else {}) | missing, indent=1)
    plain, embedded = root / "train" / "annotations_info.json", root / "train" / YOUTUBE_VIS_EMBEDDINGS
    info = {name: annotations.tracks(name) for name in annotations.names}
    for path in (plain, embedded):
        if not path.is_file():
            write_json(path, info)
    write_embeddings(embedded, annotations.categories, embed, overwrite, section="category_embedding")


def prepare_gligen(
    dataset: GligenTSV, embed: Embed, encoder: str, on_error: str = "error", dry_run: bool = False
) -> dict[str, str]:
    """`phrases.safetensors` (half precision) beside the .tsv files of a set, from the captions' `tokens_positive`.

    Args:
        encoder: hash of the text encoder's weights, kept in the file.

    Returns:
        Broken rows, with the reason.

    Raises:
        InputError: a broken row, with `on_error` "error".
    """
    phrases: set[str] = set()
    broken: dict[str, str] = {}
    for index in tqdm(range(len(dataset)), dataset.name, unit="row"):
        try:
            phrases.update(dataset.row(index).phrases)
        except InputError as error:
            if on_error != "skip":
                raise
            broken[str(index)] = str(error)
    if not dry_run:
        vectors = embed_all(phrases, lambda part: embed(part).half())
        path = dataset.folder / GLIGEN_EMBEDDINGS
        write_phrases(path, list(vectors), torch.stack(list(vectors.values())), encoder)
        logger.info(f"wrote {path}")
    return broken


def add_captions(path: Path) -> None:
    """Give the videos of an `annotations.json` that have none a caption, made of their phrases."""
    content = read_annotations(path)
    missing = [name for name, video in content.items() if not str(video.get("caption") or "").strip()]
    for name in missing:
        phrases = [str(item["phrase"]) for item in content[name]["objects"]]
        content[name] = {"caption": caption_of(phrases), **{k: v for k, v in content[name].items() if k != "caption"}}
    if missing:
        write_json(path, content, indent=1)


def cache_latents(
    source: VideoSource,
    writer: CacheWriter,
    shards: Sequence[int],
    encode: Callable[[Tensor, Video], dict[str, Tensor]],
    size: tuple[int, int],
    resize: str,
    on_error: str = "error",
) -> None:
    """Write shards of the cache, a video at a time.

    Args:
        encode: frames (F H W 3, uint8) and annotation of a video -> `latent_mean`, `latent_std` (4 F h w), `text`
            (77 C), `phrase_embeddings` (N C).
        size: height and width.

    Raises:
        InputError: a broken video, with `on_error` "error"; shards written before are kept.
    """
    numbers = {name: index for index, name in enumerate(source.names)}
    with tqdm(total=sum(len(writer.shards[shard]) for shard in shards), desc=source.name, unit="video") as bar:
        for shard in shards:
            videos: dict[str, dict[str, Any]] = {}
            for name in writer.shards[shard]:
                video = source.video(numbers[name])
                try:
                    frames = read_frames(source, numbers[name], range(len(video)), *size, resize)
                except InputError as error:
                    if on_error != "skip":
                        raise
                    videos[name] = {"dropped": str(error)}
                else:
                    encoded: dict[str, Any] = dict(encode(torch.from_numpy(frames), video))
                    videos[name] = encoded | {"prompt": video.prompt, "phrases": video.phrases}
                bar.update()
            writer.write(shard, videos)
