"""The errors of predicted clean latents: right networks have none, and regions are where they should be."""

from dataclasses import replace

import pytest
import torch

from smcd.schedulers import make_scheduler
from smcd.sprites import diagnosis
from smcd.sprites.diagnosis import AS_GIVEN, CHANGES, REGIONS, SNRS, clips_of, errors, flat, table
from smcd.sprites.tiny import tiny_pipeline
from smcd.sprites.world import WORLDS
from tests.conftest import open_gates


@pytest.fixture
def pipe():
    return open_gates(tiny_pipeline())


@pytest.fixture
def batches(pipe):
    return clips_of(pipe, WORLDS["varied"], seed=3, count=10, frames=4, size=64, slots=4)


def test_every_latent_of_every_frame_is_in_one_region(batches):
    assert [len(batch.latents) for batch in batches] == [8, 2]
    for batch in batches:
        places = torch.stack([batch.regions[name] for name in REGIONS])
        assert (places.sum(0) == 1).all()
        first, later, uncovered, near, far = (where.sum((0, 2, 3)) > 0 for where in places)
        assert first.tolist() == [True, False, False, False]
        assert later.tolist() == [False, True, True, True]
        assert not uncovered[0]
        assert near.all()
        assert far.any()


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_a_network_that_is_right_has_no_errors(pipe, batches, monkeypatch, kind):
    scheduler = pipe.scheduler = make_scheduler(config={"prediction_type": kind})
    latents = iter(batch.latents for batch in batches for _ in SNRS)
    offset = 0.0

    def right(sample, steps, *_, **__):
        clean = next(latents)
        alpha = scheduler.alphas_cumprod[int(steps[0])]
        noise = (sample - alpha.sqrt() * (clean + offset)) / (1 - alpha).sqrt()
        velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * (clean + offset)
        return (noise if kind == "epsilon" else velocity,)

    monkeypatch.setattr(pipe.unet, "forward", right)
    found = errors(pipe, batches)
    assert tuple(found) == SNRS
    assert all(set(row) == set(REGIONS) for row in found.values())
    assert max(flat(found).values()) < 1e-6
    latents, offset = iter(batch.latents for batch in batches for _ in SNRS), 0.1
    assert list(flat(errors(pipe, batches)).values()) == pytest.approx([0.01] * len(SNRS) * len(REGIONS), rel=1e-3)


def test_what_is_changed(batches):
    batch = batches[0]
    given = batch.conditions
    for paths, concatenated, encoded in (("the zero conv", True, False), ("the image gate", False, True)):
        changed = CHANGES[f"another picture in {paths}"](batch).conditions
        assert torch.equal(changed.image_latents, given.image_latents) != concatenated
        assert torch.equal(changed.image_token_latents, given.image_latents) != encoded
    assert not CHANGES["boxes dropped"](batch).conditions.box_mask.any()
    reverse = CHANGES["frames in reverse"](batch)
    assert torch.equal(reverse.latents[:, :, -1], given.image_latents)
    assert torch.equal(reverse.conditions.boxes[:, 0], given.boxes[:, -1])
    assert reverse.regions["first_object"][:, -1].any()


def test_a_table_of_every_change(pipe, batches):
    found = {name: errors(pipe, batches[1:], change) for name, change in CHANGES.items()}
    assert found[AS_GIVEN] != found["another picture in both"]
    assert found[AS_GIVEN] == errors(pipe, batches[1:])  # the noise is the same
    lines = table(found).splitlines()
    assert len(lines) == 2 + len(CHANGES) * len(SNRS)
    assert lines[2].startswith(f"| as given | {SNRS[0]:g} | {found[AS_GIVEN][SNRS[0]]['first_object']:.4f} |")
    still = [replace(batches[1], regions={**batches[1].regions, "far": batches[1].regions["far"] & False})]
    assert "far" not in diagnosis.errors(pipe, still)[1.0]
