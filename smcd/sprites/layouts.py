"""Sprites on disk, in exactly the layouts of GOT-10k, YouTube-VIS 2021 and GLIGEN's TSV files."""

import base64
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from smcd.runtime.errors import InputError, first_line
from smcd.runtime.files import new_file, new_folder, read_json
from smcd.sprites.world import WORLDS, Sprite, SpriteClip, World, make_clip

_GLIGEN_SETS = ("flickr", "sbu", "gqa")
_LONGEST = 300  # characters of a setting
_FRAME_STEP = 5  # YouTube-VIS names every fifth frame of its videos


def make_world(settings: Sequence[str]) -> World:
    """A world from `key=value` settings, alone or after the name of one of `WORLDS`; an InputError for wrong ones."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    start = WORLDS.get(settings[0]) if settings else None
    changes = list(settings[1:] if start else settings)
    if other := [text for text in changes if "=" not in text or "*" in text or len(text) > _LONGEST]:  # * is an alias
        known = f"nor does a world of that name stand first ({', '.join(WORLDS)})"
        raise InputError(f"{' '.join(settings)}: {other[0]!r} is no key=value (without spaces), {known}")
    try:
        chosen = OmegaConf.merge(OmegaConf.structured(start or World()), OmegaConf.from_dotlist(changes))
        return OmegaConf.to_object(chosen)
    except (OmegaConfBaseException, YAMLError, ValueError) as error:
        raise InputError(f"{' '.join(settings)}: {first_line(error)}") from None


def _clips(
    indices: Iterable[int], seed: int, split: str, frames: int, size: int, world: World
) -> Iterator[tuple[int, SpriteClip]]:
    seed += 1_000_003 * ("train", "val", "valid", "test").index(split)  # every split is a world of its own
    return ((index, make_clip(seed, index, frames, size, world)) for index in indices)


def write_got10k(
    out: Path, indices: Iterable[int], seed: int, frames: int, size: int, world: World, split: str = "train"
) -> Path:
    """Write `out/got10k/<split>/GOT-10k_<Split>_000001/` and so on: the first object of each clip is the tracked one.

    Returns the split's folder, which appears when it is complete.
    """
    root = out / "got10k" / split
    with new_folder(root) as folder:
        for index, clip in _clips(indices, seed, split, frames, size, world):
            sequence = folder / f"GOT-10k_{split.capitalize()}_{index + 1:06d}"
            sequence.mkdir()
            for f, frame in enumerate(clip.frames):
                (sequence / f"{f + 1:08d}.jpg").write_bytes(_jpeg(frame))
            _write_labels(sequence, clip, size)
            sprite = clip.sprites[0]
            (sequence / "meta_info.ini").write_text(
                f"[METAINFO]\nurl: https://sprites.invalid/clip%20{index}\nobject_class: {sprite.phrase}\n"
                f"motion_class: {sprite.motion}\nmajor_class: {sprite.shape}\nresolution: ({size}, {size})\n"
            )
    return root


def _write_labels(sequence: Path, clip: SpriteClip, size: int) -> None:
    boxes, present = _xywh(clip.boxes[:, 0], size), clip.box_mask[:, 0]
    for f in range(1, len(boxes)):
        if not present[f]:
            boxes[f] = boxes[f - 1]  # an absent frame repeats the last box
    lines = "".join(",".join(f"{value:.4f}" for value in box) + "\n" for box in boxes)
    (sequence / "groundtruth.txt").write_text(lines)
    center, reach = clip.sprites[0].center, clip.sprites[0].radius[:, None]
    cut = ((center - reach < 0) | (center + reach > 1)).any(-1)
    cover = np.rint(8 * clip.cover[:, 0]) * present
    for name, values in {"absence": 1 - present, "cover": cover, "cut_by_image": cut}.items():
        (sequence / f"{name}.label").write_text("".join(f"{int(value)}\n" for value in values))


def write_youtube_vis(
    out: Path, indices: Iterable[int], seed: int, frames: int, size: int, world: World, split: str = "train"
) -> Path:
    """Write `out/youvis/<split>/` with `JPEGImages/<video>/00000.jpg` and, for train, `instances.json`.

    `out/youvis/caption.json` gets the captions of these videos. Only train has annotations, as in YouTube-VIS.

    Returns the split's folder, which appears when it is complete.
    """
    root = out / "youvis" / split
    phrases = sorted({f"{color} {shape}" for shape in world.shapes for color in world.colors})
    categories = {phrase: number for number, phrase in enumerate(phrases, start=1)}
    content: dict[str, list[dict[str, Any]]] = {
        "videos": [],
        "categories": [{"id": number, "name": phrase} for phrase, number in categories.items()],
        "annotations": [],
    }
    caption_file = root.parent / "caption.json"
    captions = read_json(caption_file) if caption_file.is_file() else {}
    with new_folder(root) as folder:
        for index, clip in _clips(indices, seed, split, frames, size, world):
            video = hashlib.sha1(f"{seed} {split} {index}".encode()).hexdigest()[:10]
            names = [f"{video}/{f * _FRAME_STEP:05d}.jpg" for f in range(frames)]
            (folder / "JPEGImages" / video).mkdir(parents=True)
            for name, frame in zip(names, clip.frames, strict=True):
                (folder / "JPEGImages" / name).write_bytes(_jpeg(frame))
            shape = {"width": size, "height": size, "length": frames}
            content["videos"].append({"id": index + 1, "file_names": names, **shape})
            for n, sprite in enumerate(clip.sprites):
                track = {"id": len(content["annotations"]) + 1, "video_id": index + 1, "iscrowd": 0, **shape}
                track["category_id"] = categories[sprite.phrase]
                content["annotations"].append(track | _track(clip, n, size))
            captions[video] = clip.caption
        if split == "train":
            (folder / "instances.json").write_text(json.dumps(content))
    with new_file(caption_file) as temporary:
        temporary.write_text(json.dumps(captions, indent=1))
    return root


def _track(clip: SpriteClip, n: int, size: int) -> dict[str, list]:
    """Per-frame boxes, areas and masks of one object, None where it is absent."""
    track: dict[str, list] = {"bboxes": [], "areas": [], "segmentations": []}
    for box, mask, there in zip(_xywh(clip.boxes[:, n], size), clip.masks[:, n], clip.box_mask[:, n], strict=True):
        values = (box.tolist(), int(mask.sum()), run_lengths(mask)) if there else (None, None, None)
        for key, value in zip(track, values, strict=True):
            track[key].append(value)
    return track


def run_lengths(mask: np.ndarray) -> dict[str, list[int]]:
    """COCO's uncompressed run-length code of a mask (H W): column by column, starting with a run of zeros."""
    flat = np.concatenate([[False], mask.ravel(order="F"), [not mask[-1, -1]]])
    ends = np.flatnonzero(flat[1:] != flat[:-1])
    return {"counts": np.diff(ends, prepend=0).tolist(), "size": list(mask.shape)}


def write_gligen(out: Path, indices: Iterable[int], seed: int, size: int, world: World) -> Path:
    """Write `out/GLIGEN/GROUNDING/{flickr,sbu,gqa}/train-00.tsv` with `train-00.lineidx`: an image per row.

    Returns the folder GROUNDING, which appears when it is complete.
    """
    root = out / "GLIGEN" / "GROUNDING"
    indices = list(indices)
    with new_folder(root) as folder:
        for number, name in enumerate(_GLIGEN_SETS):
            (folder / name).mkdir()
            offsets = []
            with (folder / name / "train-00.tsv").open("wb") as tsv:
                for index in indices:
                    offsets.append(tsv.tell())
                    clip = make_clip(seed + number, index, 1, size, world)
                    row = _gligen_row(clip, index, size)
                    tsv.write(f"{index}\t{json.dumps(row)}\n".encode())
            (folder / name / "train-00.lineidx").write_text("".join(f"{offset}\n" for offset in offsets))
    return root


def _gligen_row(clip: SpriteClip, index: int, size: int) -> dict[str, Any]:
    caption, spans = _caption_with_spans(clip.sprites)
    rng = np.random.default_rng(index)
    annotations = []
    for n, span in enumerate(spans):
        if clip.box_mask[0, n]:
            box = _xywh(clip.boxes[0, n], size)
            annotations.append({"bbox": box.tolist(), "tokens_positive": [list(span)]})
            for kind in ("text", "image"):  # in place of real CLIP-L embeddings, which do not fit this model anyway
                noise = rng.standard_normal(768).astype(np.float32).tobytes()
                annotations[-1][f"{kind}_embedding_before"] = base64.b64encode(noise).decode()
    return {
        "data_id": index,
        "file_name": f"{index:08d}.jpg",
        "image": base64.b64encode(_jpeg(clip.frames[0])).decode(),
        "width": size,
        "height": size,
        "caption": caption,
        "annos": annotations,
    }


def _caption_with_spans(sprites: list[Sprite]) -> tuple[str, list[tuple[int, int]]]:
    """ "A red star and a blue ring." and where in it the phrases stand."""
    caption, spans = "", []
    for sprite in sprites:
        caption += (" and " if caption else "") + sprite.article + " "
        spans.append((len(caption), len(caption) + len(sprite.phrase)))
        caption += sprite.phrase
    return f"{caption[0].upper()}{caption[1:]}.", spans


def _xywh(boxes: np.ndarray, size: int) -> np.ndarray:
    """xyxy in 0..1 -> xywh in pixels."""
    return np.concatenate([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], axis=-1).astype(np.float64) * size


def _jpeg(frame: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(frame).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()
