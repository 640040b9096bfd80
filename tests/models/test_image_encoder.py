"""What a fresh image encoder makes of a picture."""

import pytest
import torch

from smcd import ImageEncoder, PositionNet


@pytest.mark.parametrize("size", [8, 32, 64])
def test_fresh_tokens_tell_pictures_apart(size):
    """No less than a tenth of the pictures' own variance is left; of nothing they make nothing."""
    torch.manual_seed(0)
    encoder = ImageEncoder((32, 64, 128, 128))
    with torch.no_grad():
        tokens = encoder(torch.randn(16, 4, size, size))
        assert 0.1 < tokens.var(dim=0).mean() < 10
        assert not encoder(torch.zeros(1, 4, size, size)).any()


def test_a_first_step_reaches_every_block():
    torch.manual_seed(0)
    encoder = ImageEncoder((32, 64, 128, 128))
    encoder(torch.randn(2, 4, 8, 8)).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        if "conv1" not in name:  # before a branch whose last convolution is zero: from the second step on
            assert parameter.grad is not None
            assert parameter.grad.any(), name


def test_loading_in_16_bits_works_without_the_meta_device_too(tmp_path):
    torch.manual_seed(0)
    ImageEncoder((8, 16, 32, 32)).save_pretrained(tmp_path)
    loaded = ImageEncoder.from_pretrained(tmp_path, torch_dtype=torch.float16, low_cpu_mem_usage=False)
    assert loaded.conv_in.weight.dtype == torch.float16


@torch.no_grad()
def test_both_small_networks_give_a_tuple_on_request():
    boxes, masks, phrases, latents = (
        torch.rand(1, 2, 3, 4),
        torch.ones(1, 2, 3),
        torch.rand(1, 1, 3, 8),
        torch.rand(1, 4, 8, 8),
    )
    for network, given in ((PositionNet(8, 16), (boxes, masks, phrases)), (ImageEncoder((8, 16)), (latents,))):
        [tokens] = network(*given, return_dict=False)
        assert torch.equal(tokens, network(*given))
