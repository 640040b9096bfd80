"""The objective's details; that it is the published one, tests/models/test_goldens.py shows."""

import pytest
import torch

from smcd import Conditions
from smcd.schedulers import make_scheduler
from smcd.sprites.tiny import tiny_pipeline
from smcd.training.objective import Example, TrainedNetworks, loss_weights, set_trained
from smcd.training.stages import trainable_parameters
from tests.conftest import open_gates


def make_networks(**options) -> TrainedNetworks:
    pipe = open_gates(tiny_pipeline())
    networks = TrainedNetworks(pipe.unet, pipe.position_net, pipe.image_encoder, make_scheduler(), **options)
    set_trained(networks, trainable_parameters(2, pipe.unet, pipe.position_net, pipe.image_encoder))
    return networks


def example(frames: int = 4, side: int = 16) -> Example:
    g = torch.Generator().manual_seed(0)
    latents = torch.randn(2, 4, frames, side, side, generator=g)
    conditions = Conditions(
        text=torch.randn(2, 77, 64, generator=g),
        null_text=torch.zeros(2, 77, 64),
        boxes=torch.tensor([0.1, 0.2, 0.6, 0.7]).expand(2, frames, 3, 4),
        box_mask=torch.ones(2, frames, 3),
        phrase_embeddings=torch.randn(2, 1, 3, 64, generator=g),
        object_padding=None,
        image_latents=latents[:, :, 0],
    )
    noise = torch.randn(latents.shape, generator=g)
    return Example(latents, noise, torch.tensor([20, 800]), conditions)


def test_weights_of_the_loss():
    scheduler = make_scheduler()
    timesteps = torch.tensor([0, 500, 999])
    alphas = scheduler.alphas_cumprod[timesteps]
    snr = alphas / (1 - alphas)
    weights = loss_weights(scheduler, timesteps, 5)
    assert torch.allclose(weights, torch.stack([5 / snr[0], torch.tensor(1.0), torch.tensor(1.0)]))
    batch = example(1, 4)
    plain, weighted = make_networks().eval()(batch), make_networks(snr_gamma=5.0).eval()(batch)
    assert torch.allclose(weighted, plain * loss_weights(scheduler, batch.timesteps, 5))


def test_frozen_layers_are_cast_and_what_trains_is_not():
    networks = make_networks()
    names = set(networks.trained())
    set_trained(networks, names, torch.bfloat16)
    for name, parameter in networks.named_parameters():
        assert parameter.requires_grad == (name in names)
        if parameter.requires_grad or name.startswith("position_net.") or "norm" in name:
            assert parameter.dtype == torch.float32, name
    assert networks.unet.conv_out.weight.dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        half = networks.eval()(example())
    assert half.dtype == torch.float32
    assert torch.allclose(half, make_networks().eval()(example()), rtol=0.02)
    with pytest.raises(ValueError, match=r"no such parameters: unet\.stray"):
        set_trained(networks, {"unet.stray"})


def test_the_first_frame_can_be_concatenated_to_itself_alone():
    unet = open_gates(tiny_pipeline()).unet.eval()
    latents, text = torch.randn(1, 4, 3, 4, 4), torch.randn(1, 77, 64)
    unet.register_to_config(image_concat_first_only=True)
    concatenated = {}
    unet.conv_in.register_forward_pre_hook(lambda _, inputs: concatenated.update(x=inputs[0]))
    unet(latents, 3, text, image_latents=torch.ones(1, 4, 4, 4))
    assert concatenated["x"][:, 4:].mean((1, 2, 3)).tolist() == [1, 0, 0]


@pytest.mark.parametrize("gamma", [0.0, 5.0])
def test_a_scheduler_with_velocity_prediction_makes_the_velocity_the_target(gamma):
    """v = sqrt(a) noise - sqrt(1 - a) latents; its min-SNR weight is min(SNR, gamma) / (SNR + 1)."""
    scheduler = make_scheduler(config={"prediction_type": "v_prediction"})
    pipe, batch = open_gates(tiny_pipeline()), example(1, 4)
    networks = TrainedNetworks(pipe.unet, pipe.position_net, pipe.image_encoder, scheduler, snr_gamma=gamma).eval()
    a = scheduler.alphas_cumprod[batch.timesteps].reshape(-1, 1, 1, 1, 1)
    noisy = a.sqrt() * batch.latents + (1 - a).sqrt() * batch.noise
    inputs = batch.conditions.unet_inputs(pipe.unet.config, pipe.position_net, pipe.image_encoder)
    velocity = a.sqrt() * batch.noise - (1 - a).sqrt() * batch.latents
    expected = (pipe.unet(noisy, batch.timesteps, **inputs).sample - velocity).square().flatten(1).mean(1)
    if gamma:
        snr = (a / (1 - a)).flatten()
        expected = expected * snr.clamp(max=gamma) / (snr + 1)
    assert torch.allclose(networks(batch), expected, rtol=1e-4)
