"""The color tracker finds what was drawn, and nothing where nothing was."""

import numpy as np
import pytest

from smcd.sprites.layouts import make_world
from smcd.sprites.world import COLORS, make_clip
from smcd.tracking.color import track_colors

WORLD = make_world(["backgrounds=[plain,gradient]", "objects=[1,2]", "radius=[0.14,0.2]", "motions=[line,arc]"])


def overlaps(found, truth):
    """IoU of boxes ... 4; 0 where nothing was found."""
    sides = np.minimum(found[..., 2:], truth[..., 2:]) - np.maximum(found[..., :2], truth[..., :2])
    shared = np.clip(sides, 0, None).prod(-1)
    areas = [(box[..., 2:] - box[..., :2]).prod(-1) for box in (found, truth)]
    return np.nan_to_num(shared / (sum(areas) - shared))


@pytest.mark.parametrize("noise", [0, 15])
def test_sprites_are_found_where_they_are(noise):
    rng, values = np.random.default_rng(0), []
    for index in range(20):
        clip = make_clip(1, index, 4, 64, WORLD)
        frames = np.clip(clip.frames + rng.normal(0, noise, clip.frames.shape), 0, 255).astype(np.uint8)
        found = track_colors(frames, [sprite.color for sprite in clip.sprites], COLORS)
        values.append(overlaps(found, clip.boxes)[clip.box_mask > 0])
    assert np.concatenate(values).mean() > 0.88
    assert (np.concatenate(values) > 0.5).mean() > 0.97


def test_a_color_that_is_not_there_is_not_found():
    clip = next(c for c in (make_clip(1, n, 4, 64, WORLD) for n in range(20)) if len(c.sprites) == 1)
    others = [color for color in WORLD.colors if color != clip.sprites[0].color]
    assert np.isnan(track_colors(clip.frames, others, COLORS)).all()


def test_an_empty_frame_and_noise_show_nothing_large():
    gray = np.full((1, 64, 64, 3), 120, np.uint8)
    assert np.isnan(track_colors(gray, WORLD.colors, COLORS)).all()
