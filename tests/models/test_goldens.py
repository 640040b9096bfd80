"""The networks compute what the published ones compute."""

import pytest
import torch

from smcd.conditions import Conditions
from smcd.convert import to_published
from smcd.guidance import Guidance
from smcd.models import KeyValueCache
from smcd.models.blocks import UNetBlock
from smcd.pipeline import SMCDPipeline
from smcd.schedulers import make_scheduler
from smcd.training.objective import Example, TrainedNetworks
from tests import golden
from tests.golden import Golden, relative_error

WITH_OBJECTS = [name for name in golden.NAMES if name != "base"]
SAMPLES = [(name, 10) for name in golden.NAMES if name != "stage1"]
SAMPLES.append(pytest.param("smcd", 50, marks=pytest.mark.slow))


def call(g: Golden, **inputs) -> torch.Tensor:
    noisy = make_scheduler().add_noise(g.input("latents"), g.input("noise"), g.input("timesteps").long())
    temporal = not g.config["temporal_layers_bypassed"]
    return g.unet(noisy, g.input("timesteps"), g.input("text"), temporal=temporal, **inputs).sample


def sample(g: Golden, steps: int, low_memory: bool) -> torch.Tensor:
    pipe = SMCDPipeline(None, None, None, g.unet, make_scheduler(), g.position_net, g.image_encoder)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler.set_timesteps(steps)
    masks = g.input("masks")
    conditions = Conditions(
        text=g.input("text"),
        null_text=g.input("null_text").expand_as(g.input("text")),
        boxes=g.input("boxes"),
        box_mask=masks,
        phrase_embeddings=g.input("object_text"),
        object_padding=torch.zeros(masks.shape[0], masks.shape[2], dtype=torch.bool),
        image_latents=g.input("latents")[:, :, 0],
    )
    guidance = Guidance(text=g.config["guidance_scale"])
    return pipe.denoise(g.input("noise"), conditions, guidance, low_memory=low_memory)


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
    assert relative_error(call(g, objects=g.objects(), **g.image_inputs()), g.output("eps")) < 1e-5


@pytest.mark.parametrize("name", golden.NAMES)
@torch.no_grad()
def test_one_call_from_a_filled_cache(name):
    g, cache = golden.load(name), KeyValueCache()
    inputs = {"objects": g.objects(), **g.image_inputs(), "cache": cache}
    call(g, **inputs)
    assert cache.entries
    assert relative_error(call(g, **inputs), g.output("eps")) < 1e-5


@pytest.mark.parametrize("name", WITH_OBJECTS)
@torch.no_grad()
def test_without_objects_and_image_tokens_both_gates_are_skipped(name):
    g = golden.load(name)
    inputs = g.image_inputs()
    inputs.pop("image_tokens", None)
    assert relative_error(call(g, **inputs), g.output("eps_no_grounding")) < 1e-5


@torch.no_grad()
def test_guided_sample_without_the_cache(monkeypatch):
    monkeypatch.setattr(KeyValueCache, "get", lambda self, name, compute: compute())
    g = golden.load("smcd")
    assert relative_error(sample(g, 10, low_memory=False), g.output("sample_10")) < 1e-4


@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "gradient_checkpointing"])
@pytest.mark.parametrize("name", ["stage1", "smcd"])
def test_loss_and_gradients(name, checkpointing):
    g = golden.load(name)
    networks = TrainedNetworks(
        g.unet,
        g.position_net,
        g.image_encoder,
        make_scheduler(),
        temporal=not g.config["temporal_layers_bypassed"],
    )
    networks.requires_grad_(True).zero_grad()
    latents = g.input("latents")
    conditions = Conditions(
        text=g.input("text"),
        null_text=g.input("null_text").expand_as(g.input("text")),
        boxes=g.input("boxes"),
        box_mask=g.input("masks"),
        phrase_embeddings=g.input("object_text"),
        object_padding=None,
        image_latents=latents[:, :, 0],
    )
    if checkpointing:
        g.unet.enable_gradient_checkpointing()
    try:
        loss = networks(Example(latents, g.input("noise"), g.input("timesteps").long(), conditions)).mean()
        recomputed = sum(block.gradient_checkpointing for block in g.unet.modules() if isinstance(block, UNetBlock))
    finally:
        g.unet.disable_gradient_checkpointing()
    assert bool(recomputed) == checkpointing
    loss.backward()
    assert loss.item() == pytest.approx(g.output("loss").item(), rel=1e-4)
    parts = {"unet": g.unet, "position_net": g.position_net, "visual_encoder": g.image_encoder}
    gradients = to_published(
        {
            part: {key: p.grad if p.grad is not None else torch.zeros_like(p) for key, p in network.named_parameters()}
            for part, network in parts.items()
            if network is not None
        }
    )
    expected = {key.removeprefix("grad_norm."): value for key, value in g.tensors.items() if key.startswith("grad_")}
    assert len(expected) in (76, 230)
    for key, norm in expected.items():
        part, _, leaf = key.partition(".")
        assert gradients[part][leaf].norm().item() == pytest.approx(norm.item(), rel=1e-4, abs=1e-9), key


@pytest.mark.parametrize("low_memory", [False, True], ids=["one_batch", "low_memory"])
@pytest.mark.parametrize(("name", "steps"), SAMPLES)
@torch.no_grad()
def test_guided_sample(name, steps, low_memory):
    g = golden.load(name)
    assert relative_error(sample(g, steps, low_memory), g.output(f"sample_{steps}")) < 1e-4
