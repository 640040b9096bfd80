"""The networks compute what the published ones compute."""

import pytest
import torch
from diffusers import DDIMScheduler

from tests import golden
from tests.golden import relative_error

VIDEO = ["base", "boxes_only", "zero_conv", "gated_cross_attention", "smcd"]


def noisy(g):
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    return scheduler.add_noise(g.input("latents"), g.input("noise"), g.input("timesteps").long())


def call(g, **inputs):
    temporal = not g.config["temporal_layers_bypassed"]
    return g.unet(noisy(g), g.input("timesteps"), g.input("text"), temporal=temporal, **inputs).sample


@pytest.mark.parametrize("name", [name for name in golden.NAMES if name != "base"])
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
def test_unet(name):
    g = golden.load(name)
    assert relative_error(call(g, objects=g.objects(), **g.image_inputs()), g.output("eps")) < 1e-5


@pytest.mark.parametrize("name", [name for name in golden.NAMES if name != "base"])
@torch.no_grad()
def test_without_objects_and_image_tokens_both_gates_are_skipped(name):
    g = golden.load(name)
    inputs = g.image_inputs()
    inputs.pop("image_tokens", None)
    assert relative_error(call(g, **inputs), g.output("eps_no_grounding")) < 1e-5
