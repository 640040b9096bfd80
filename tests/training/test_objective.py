"""The objective's details; that it is the published one, tests/models/test_goldens.py shows."""

import pytest
import torch

from smcd import Conditions
from smcd.schedulers import make_scheduler
from smcd.sprites.tiny import tiny_pipeline
from smcd.training.memory import PeakMemory, activations_of
from smcd.training.objective import Example, TrainedNetworks, prediction_target, set_trained
from smcd.training.run import gates_as_vectors
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


def measured_peak(checkpointing: bool) -> int:
    """Bytes of the activations of a real step on the CPU, without the gradients of the weights."""
    networks = make_networks().train()
    if checkpointing:
        networks.unet.enable_gradient_checkpointing()
    batch = example()
    with PeakMemory() as memory:
        networks(batch).mean().backward()
    return memory.peak - sum(p.grad.nbytes for p in networks.parameters() if p.grad is not None)


def test_gradient_checkpointing_saves_activations(capsys):
    plain, checkpointed = measured_peak(False), measured_peak(True)
    assert checkpointed < 0.6 * plain
    with capsys.disabled():
        saved = 1 - checkpointed / plain
        print(f"\nactivations {plain / 2**20:.1f} MiB, with checkpointing {checkpointed / 2**20:.1f} MiB: -{saved:.0%}")


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_memory_that_a_dry_run_counts_is_what_a_step_takes(checkpointing):
    networks = make_networks().train()
    if checkpointing:
        networks.unet.enable_gradient_checkpointing()
    counted = activations_of(networks, example)
    assert counted == pytest.approx(measured_peak(checkpointing), rel=0.1)


def test_the_target_is_what_the_scheduler_says():
    torch.manual_seed(0)
    latents, noise, timesteps = torch.randn(3, 4, 2, 4, 4), torch.randn(3, 4, 2, 4, 4), torch.tensor([0, 500, 999])
    published = make_scheduler()
    assert prediction_target(published, latents, noise, timesteps) is noise
    scheduler = make_scheduler(config={"prediction_type": "v_prediction"})
    velocity = prediction_target(scheduler, latents, noise, timesteps)
    sample = scheduler.add_noise(latents, noise, timesteps)
    for b, step in enumerate(timesteps):  # from the velocity follow noise and clean latents
        signal, hidden = (x.sqrt() for x in (scheduler.alphas_cumprod[step], 1 - scheduler.alphas_cumprod[step]))
        assert torch.allclose(signal * sample[b] - hidden * velocity[b], latents[b], atol=1e-5)
        assert torch.allclose(hidden * sample[b] + signal * velocity[b], noise[b], atol=1e-5)
        changed = latents.clone()
        changed[b] += 0.1  # an error of the clean latents counts SNR + 1 times in that of the velocity
        wrong = (signal * sample[b] - changed[b]) / hidden  # the velocity that says `changed`
        assert (wrong - velocity[b]).square().mean().item() == pytest.approx(
            (0.01 * (1 + scheduler.alphas_cumprod[step] / hidden**2)).item(), rel=1e-3
        )


def test_networks_learn_the_velocity_where_the_scheduler_says_so():
    networks, batch = make_networks().eval(), example(1, 4)
    plain = networks(batch)
    networks.scheduler = make_scheduler(config={"prediction_type": "v_prediction"})
    predicted = networks._predict(networks.scheduler.add_noise(batch.latents, batch.noise, batch.timesteps), batch)
    velocity = networks.scheduler.get_velocity(batch.latents, batch.noise, batch.timesteps)
    assert torch.allclose(networks(batch), (predicted - velocity).square().flatten(1).mean(1))
    assert torch.allclose(plain, (predicted - batch.noise).square().flatten(1).mean(1))


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


def test_gates_as_vectors_compute_the_same():
    networks, batch = make_networks().eval(), example(2, 4)
    expected = networks(batch)
    gates_as_vectors(networks)
    assert all(parameter.ndim for parameter in networks.parameters())
    assert torch.equal(networks(batch), expected)


def test_the_first_frame_can_be_concatenated_to_itself_alone():
    unet = open_gates(tiny_pipeline()).unet.eval()
    latents, text = torch.randn(1, 4, 3, 4, 4), torch.randn(1, 77, 64)
    unet.register_to_config(image_concat_first_only=True)
    concatenated = {}
    unet.conv_in.register_forward_pre_hook(lambda _, inputs: concatenated.update(x=inputs[0]))
    unet(latents, 3, text, image_latents=torch.ones(1, 4, 4, 4))
    assert concatenated["x"][:, 4:].mean((1, 2, 3)).tolist() == [1, 0, 0]
