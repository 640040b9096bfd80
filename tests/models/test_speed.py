"""What makes sampling faster computes the same."""

import pytest
import torch
from diffusers.models import attention as diffusers_attention

from smcd.models import KeyValueCache, use_channels_last
from smcd.models.attention import FeedForward
from smcd.runtime.compilation import compile_transformers
from tests.golden import relative_error
from tests.models.test_unet import inputs, open_gates, small_unet


@torch.no_grad()
def test_channels_last():
    unet = open_gates(small_unet())
    torch.nn.init.normal_(unet.down_blocks[0].temp_convs[0].conv4[-1].weight, std=0.1)
    expected = unet(**inputs()).sample
    use_channels_last(unet)
    assert unet.down_blocks[0].resnets[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)
    assert relative_error(unet(**inputs()).sample, expected) < 1e-5


@torch.no_grad()
def test_pictures_stay_channels_last_through_a_temporal_transformer():
    unet = small_unet()
    x = torch.randn(6, 32, 8, 12).contiguous(memory_format=torch.channels_last)
    assert unet.transformer_in(x, 3).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("tokens", [7, 1024, 1500, 4096])
def test_feed_forward_in_parts(tokens):
    layer = FeedForward(32)
    x = torch.randn(2, tokens, 32)
    whole = diffusers_attention.FeedForward.forward(layer, x)  # with gradients, as in training
    assert torch.equal(layer(x), whole)
    with torch.no_grad():
        assert torch.allclose(layer(x), whole, atol=1e-6)


@torch.no_grad()
def test_every_call_of_a_compiled_network_begins_a_step_of_cuda_graphs(monkeypatch):
    unet = small_unet()
    begun = []
    monkeypatch.setattr(unet, "compile_repeated_blocks", lambda **_: None)
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: begun.append(len(begun)))
    compile_transformers(unet, mode="reduce-overhead")
    for _ in range(2):
        unet(**inputs())
    assert begun == [0, 1]


@pytest.mark.slow  # a minute of compiling
@torch.no_grad()
def test_compiled_transformers_with_a_cache_that_is_filled_and_read(caplog):
    unet = open_gates(small_unet())
    first, other = inputs(), inputs(seed=2)
    expected = [unet(**x).sample for x in (first, other)]
    compile_transformers(unet, mode="default")
    caplog.set_level("INFO")
    for x, plain in zip((first, other), expected, strict=True):
        cache = KeyValueCache()
        for _ in range(2):
            assert relative_error(unet(**x, cache=cache).sample, plain) < 1e-5
    assert caplog.text.count("compiling for latents of 2 x 4 x 3 x 8 x 12") == 1
