"""One guided step: of this project's UNet, and of diffusers' base."""

from collections.abc import Callable

import torch
from diffusers import UNet3DConditionModel
from torch import nn

from smcd.benchmark.content import make_conditions, make_noise
from smcd.benchmark.flops import ceiling, count
from smcd.benchmark.measure import Row, by_turns
from smcd.benchmark.networks import make_base, make_pipeline
from smcd.benchmark.settings import Settings
from smcd.guidance import GuidedDenoiser
from smcd.models import use_channels_last
from smcd.pipeline import SMCDPipeline
from smcd.runtime.compilation import compile_transformers

Step = Callable[[], torch.Tensor]
_TIMESTEP = 401


def ready_pipeline(settings: Settings, encoders: bool = False) -> SMCDPipeline:
    """On its device, laid out and compiled as the settings say."""
    pipe = make_pipeline(settings.size, settings.dtype, encoders).to(settings.device)
    if settings.channels_last:
        for part in (pipe.unet, pipe.image_encoder, pipe.vae):
            if part is not None:
                use_channels_last(part)
    if settings.config.compile:
        compile_transformers(pipe.unet, settings.config.compile_mode)
    return pipe


def ready_base(settings: Settings, pipe: SMCDPipeline) -> UNet3DConditionModel:
    """diffusers' UNet on the same weights, as well laid out and compiled."""
    base = nn.Module.to(make_base(pipe.unet), settings.base_dtype)
    if settings.base_channels_last:
        use_channels_last(base)
    if settings.config.compile:
        compile_transformers(base, settings.config.compile_mode)
    return base


def guided_step(settings: Settings, pipe: SMCDPipeline, low_memory: bool | None = None) -> Step:
    """One step of a sample, as every one but the first: keys and values of the conditions are there."""
    low_memory = settings.config.low_memory if low_memory is None else low_memory
    denoiser = GuidedDenoiser(pipe.unet, pipe.position_net, pipe.image_encoder, low_memory)
    sample = make_noise(settings, pipe.unet.config)

    def step() -> torch.Tensor:
        with torch.no_grad():
            return denoiser(sample, torch.tensor(_TIMESTEP))

    with torch.no_grad():
        denoiser.prepare(make_conditions(settings, pipe.unet.config), settings.guidance)
    return step


def guided_base_step(settings: Settings, pipe: SMCDPipeline, base: UNet3DConditionModel) -> Step:
    """The same step of diffusers' pipeline: null text and text as one batch, then the guidance formula."""
    conditions = make_conditions(settings, pipe.unet.config)
    text = conditions.text
    if settings.config.branches > 1:
        text = torch.cat([conditions.null_text, conditions.text])
    text = text.to(settings.base_dtype)
    sample = make_noise(settings, pipe.unet.config)

    def step() -> torch.Tensor:
        with torch.no_grad():
            batch = sample.to(settings.base_dtype).repeat(len(text) // len(sample), 1, 1, 1, 1)
            predicted = base(batch, torch.tensor(_TIMESTEP), text, return_dict=False)[0].float()
            if len(predicted) == len(sample):
                return predicted
            null, full = predicted.chunk(2)
            return null + 7.5 * (full - null)

    return step


def guided_works(settings: Settings) -> dict[str, Step]:
    """A guided step of ours and, with `--vs base`, one of diffusers' base, which comes first."""
    pipe = ready_pipeline(settings)
    ours = guided_step(settings, pipe)
    works: dict[str, Step] = {}
    if settings.config.vs:
        works["diffusers' base"] = guided_base_step(settings, pipe, ready_base(settings, pipe))
    return {**works, "smcd": ours}


def call(settings: Settings) -> list[Row]:
    """Time, memory and FLOPs of `guided_works`."""
    works = guided_works(settings)
    rows = by_turns(works, settings.config.repeats, settings.device)
    for name, row in rows.items():
        dtype = settings.dtype if name == "smcd" else settings.base_dtype
        row.flops, row.ceiling = count(works[name]), ceiling(settings.device, dtype)
    return list(rows.values())


def sweep(settings: Settings) -> list[Row]:
    """A guided step for several frames, sizes or numbers of objects."""
    axis = settings.config.sweep
    assert axis is not None
    pipe = ready_pipeline(settings)
    works = {f"{value} {axis}": guided_step(settings.having(**{axis: value}), pipe) for value in _VALUES[axis]}
    rows = by_turns(works, settings.config.repeats, settings.device)
    top = ceiling(settings.device, settings.dtype)
    first = next(iter(rows.values()))
    for name, row in rows.items():
        row.flops, row.ceiling = count(works[name]), top
        row.notes["per FLOP"] = _per_flop(row) / _per_flop(first)
    return list(rows.values())


def _per_flop(row: Row) -> float:
    assert row.flops
    return row.median / row.flops


_VALUES = {"frames": (8, 16, 32), "pixels": (256, 384, 512), "objects": (1, 8, 30)}
