"""Sprites in the published folder layout, as the truth and as anyone's predictions."""

from pathlib import Path

import numpy as np

from smcd.evaluation.metrics.manifest import Clip, Manifest, frames_sha256
from smcd.runtime.media import write_frames
from smcd.sprites.world import SpriteClip, World, make_clip

WORLD = World(objects=(1, 2), motions=("line", "arc"), speed=0.5, turning=0.05, growing=1.1)


def sprite_clips(count: int, size: int = 64, frames: int = 8) -> dict[str, SpriteClip]:
    return {f"sprite_{index:03d}": make_clip(7, index, frames, size, WORLD) for index in range(count)}


def manifest_of(clips: dict[str, SpriteClip]) -> Manifest:
    size = next(iter(clips.values())).frames.shape[1]
    entries = []
    for sequence, clip in clips.items():
        phrases = [sprite.phrase for sprite in clip.sprites]
        boxes = [
            [box.astype(float).tolist() if there else None for box, there in zip(row, mask, strict=True)]
            for row, mask in zip(clip.boxes, clip.box_mask, strict=True)
        ]
        cover = np.rint(8 * clip.cover * clip.box_mask).astype(int).tolist()
        classes = [sprite.shape for sprite in clip.sprites]
        frames = list(range(len(clip.frames)))
        entries.append(Clip(sequence, frames, clip.caption, phrases, classes, boxes, frames_sha256(clip.frames), cover))
    return Manifest("sprites", size, size, entries, {"frames": "start 0, stride 1"})


def write_truth(root: Path, clips: dict[str, SpriteClip], with_manifest: bool = True) -> Path:
    """`<sequence>/gt_img/`, `box_{j}.txt`, `prompt.txt`, and `manifest.json`."""
    for sequence, clip in clips.items():
        write_frames(root / sequence / "gt_img", "gt_img", clip.frames)
        (root / sequence / "prompt.txt").write_text(f"{clip.caption}\n")
        for f, boxes in enumerate(clip.boxes):
            lines = "".join(",".join(f"{value:.6f}" for value in box) + "\n" for box in boxes)
            (root / sequence / f"box_{f}.txt").write_text(lines)
    if with_manifest:
        manifest_of(clips).write(root / "manifest.json")
    return root


def noisy(frames: np.ndarray, strength: float, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, strength, frames.shape)
    return np.clip(frames + noise, 0, 255).round().astype(np.uint8)


def write_predictions(root: Path, videos: dict[str, np.ndarray]) -> Path:
    for sequence, frames in videos.items():
        write_frames(root / sequence / "pred_img", "pred_img", frames)
    return root
