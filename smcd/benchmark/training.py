"""Training steps of stage 1 and stage 2, with the parts that `ms_main.py` trains with."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from smcd.benchmark.content import make_conditions, make_noise
from smcd.benchmark.flops import ceiling, count_real
from smcd.benchmark.measure import Row, by_turns
from smcd.benchmark.networks import make_pipeline
from smcd.benchmark.settings import Settings
from smcd.runtime.compilation import compile_transformers
from smcd.training.objective import Example, TrainedNetworks, set_trained
from smcd.training.stages import make_stage, trainable_parameters

_LEARNING_RATE = 1e-12  # the weights stay as they are, so that every step is like the first


def train(settings: Settings) -> list[Row]:
    """A step on latents that are there already: forward, backward, gradient norm, fused AdamW."""
    config = settings.config
    frames = 1 if config.stage == "1" else config.frames
    settings = settings.having(frames=frames)
    networks = make_networks(settings)
    step = training_step(settings, networks)
    name = f"stage {config.stage}{', gradient checkpointing' if config.gradient_checkpointing else ''}"
    step()  # makes gradients and AdamW's state, so that what follows is the activations alone
    [row] = by_turns({name: step}, config.repeats, settings.device).values()
    with sdpa_kernel(SDPBackend.MATH) if settings.device.type == "cpu" else nullcontext():
        row.flops = count_real(step)
    row.ceiling = ceiling(settings.device, settings.dtype)
    row.notes = {"steps a second": 1 / row.median, "clips a second": config.batch / row.median}
    trained = sum(parameter.numel() for parameter in networks.trained().values())
    weights = sum(parameter.nbytes for parameter in networks.parameters())
    row.notes["GiB of weights, gradients and AdamW's state"] = (weights + 12 * trained) / 2**30
    return [row]


def make_networks(settings: Settings) -> TrainedNetworks:
    """As a run has them: what trains in float32, frozen layers in the run's dtype."""
    config = settings.config
    stage = make_stage(config.stage, frames=config.frames)
    pipe = make_pipeline(settings.size, torch.float32, encoders=False, **stage.paths)
    parts = (pipe.unet, pipe.position_net, pipe.image_encoder)
    networks = TrainedNetworks(*parts, pipe.scheduler, temporal=stage.temporal)
    names = trainable_parameters(stage.name, *parts, temporal=stage.temporal)
    set_trained(networks, names, settings.dtype)
    if config.gradient_checkpointing:
        pipe.unet.enable_gradient_checkpointing()
    if config.compile:
        compile_transformers(pipe.unet, config.compile_mode)
    return networks.train().to(settings.device)


def training_step(settings: Settings, networks: TrainedNetworks) -> Callable[[], None]:
    """One update on one batch; autocast in 16 bits, without a loss scaler."""
    parameters = list(networks.trained().values())
    optimizer = torch.optim.AdamW(parameters, lr=_LEARNING_RATE, fused=True)
    example = make_example(settings, networks)

    def step() -> None:
        with _precision(settings):
            loss = networks(example).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def make_example(settings: Settings, networks: TrainedNetworks) -> Example:
    """A batch of random latents and conditions in float32, with nothing dropped."""
    plain = replace(settings, dtype=torch.float32)
    unet = networks.unet.config
    latents, noise = (make_noise(plain, unet, seed) for seed in (1, 2))
    timesteps = torch.full((settings.config.batch,), 401, device=settings.device)
    return Example(latents, noise, timesteps, make_conditions(plain, unet))


def _precision(settings: Settings) -> AbstractContextManager:
    if settings.dtype == torch.float32:
        return nullcontext()
    return torch.autocast(settings.device.type, settings.dtype)
