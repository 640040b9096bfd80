"""The networks compute what the published ones compute."""

import pytest
import torch

from smcd.models import KeyValueCache
from smcd.models.blocks import UNetBlock
from tests import golden
from tests.golden import relative_error

WITH_OBJECTS = [name for name in golden.NAMES if name != "base"]
SAMPLES = [(name, 10) for name in golden.NAMES if name != "stage1"]
SAMPLES.append(pytest.param("smcd", 50, marks=pytest.mark.slow))


@pytest.mark.parametrize("name", WITH_OBJECTS)
@torch.no_grad()
def test_position_net(name):
    g = golden.load(name)
    assert relative_error(g.objects(), g.output("objects")) < 1e-5


@pytest.mark.parametrize("name", ["gated_cross_attention", "smcd"])
@torch.no_grad()
def test_image_encoder(name):
    g = golden.load(name)
    assert relative_error(g.image_inputs()["image_tokens"], g.output("visual_tokens")) < 1e-5


@pytest.mark.parametrize("name", golden.NAMES)
@torch.no_grad()
def test_one_call_plain(name):
    g = golden.load(name)
    assert relative_error(g.call(objects=g.objects(), **g.image_inputs()), g.output("eps")) < 1e-5


@pytest.mark.parametrize("name", golden.NAMES)
@torch.no_grad()
def test_one_call_from_a_filled_cache(name):
    g, cache = golden.load(name), KeyValueCache()
    inputs = {"objects": g.objects(), **g.image_inputs(), "cache": cache}
    g.call(**inputs)
    assert cache.entries
    assert relative_error(g.call(**inputs), g.output("eps")) < 1e-5


@pytest.mark.parametrize("name", WITH_OBJECTS)
@torch.no_grad()
def test_without_objects_and_image_tokens_both_gates_are_skipped(name):
    g = golden.load(name)
    inputs = g.image_inputs()
    inputs.pop("image_tokens", None)
    assert relative_error(g.call(**inputs), g.output("eps_no_grounding")) < 1e-5


@torch.no_grad()
def test_guided_sample_without_the_cache(monkeypatch):
    monkeypatch.setattr(KeyValueCache, "get", lambda self, name, compute: compute())
    g = golden.load("smcd")
    assert relative_error(g.sample(10, low_memory=False), g.output("sample_10")) < 1e-4


@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "gradient_checkpointing"])
@pytest.mark.parametrize("name", ["stage1", "smcd"])
def test_loss_and_gradients(name, checkpointing):
    g = golden.load(name)
    if checkpointing:
        g.unet.enable_gradient_checkpointing()
    recomputes = any(block.gradient_checkpointing for block in g.unet.modules() if isinstance(block, UNetBlock))
    try:
        loss, gradients = g.loss_and_gradients()
    finally:
        g.unet.disable_gradient_checkpointing()
    assert recomputes == checkpointing
    assert loss.item() == pytest.approx(g.output("loss").item(), rel=1e-4)
    assert len(gradients) in (76, 230)
    for key, (norm, expected) in gradients.items():
        assert norm.item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-9), key


@pytest.mark.parametrize("low_memory", [False, True], ids=["one_batch", "low_memory"])
@pytest.mark.parametrize(("name", "steps"), SAMPLES)
@torch.no_grad()
def test_guided_sample(name, steps, low_memory):
    g = golden.load(name)
    assert relative_error(g.sample(steps, low_memory), g.output(f"sample_{steps}")) < 1e-4
