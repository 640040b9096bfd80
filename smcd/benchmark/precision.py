"""What 16 bits cost: errors of the network and of a short sample against float32, part by part.

Each variant computes in 16 bits, but for the parts that it names.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from smcd.benchmark.content import make_conditions, make_noise
from smcd.benchmark.measure import Row
from smcd.benchmark.networks import make_pipeline
from smcd.benchmark.settings import Settings
from smcd.conditions import Conditions
from smcd.models import attention
from smcd.pipeline import SMCDPipeline
from smcd.schedulers import make_scheduler

_NORMS = (nn.LayerNorm, nn.GroupNorm)
_SAMPLE_STEPS = 10


def precision(settings: Settings) -> list[Row]:
    """For bfloat16 and float16: the relative error of one call, and of the latents after ten guided steps."""
    reference = make_pipeline(settings.size, torch.float32, encoders=False).to(settings.device)
    call, sample = _results(settings, reference)
    rows = []
    for dtype in (torch.bfloat16, torch.float16):
        for name, changes in _VARIANTS.items():
            pipe = _cast(reference, dtype)
            with ExitStack() as stack:
                for change in changes:
                    stack.enter_context(change(pipe, dtype))
                found = _results(replace(settings, dtype=dtype), pipe)
            row = Row(f"{str(dtype).removeprefix('torch.')}, {name}")
            row.notes["one call"] = relative_error(found[0], call)
            row.notes[f"after {_SAMPLE_STEPS} steps"] = relative_error(found[1], sample)
            rows.append(row)
    return rows


def relative_error(value: Tensor, expected: Tensor) -> float:
    return float((value.float() - expected).norm() / expected.norm())


def _cast(pipe: SMCDPipeline, dtype: torch.dtype) -> SMCDPipeline:
    parts = (nn.Module.to(copy.deepcopy(part), dtype) for part in (pipe.unet, pipe.image_encoder))
    unet, image_encoder = parts
    position_net = copy.deepcopy(pipe.position_net)
    cast = SMCDPipeline(None, None, None, unet, make_scheduler(), position_net, image_encoder)
    cast.set_progress_bar_config(disable=True)
    return cast


@torch.no_grad()
def _results(settings: Settings, pipe: SMCDPipeline) -> tuple[Tensor, Tensor]:
    """The noise that one call predicts, and the latents of a short guided sample; float32."""
    config = pipe.unet.config
    conditions: Conditions = make_conditions(settings, config)
    noise = make_noise(settings, config)
    inputs = conditions.unet_inputs(config, pipe.position_net, pipe.image_encoder)
    eps = pipe.unet(noise.to(settings.dtype), 401, **inputs).sample.float()
    pipe.scheduler.set_timesteps(_SAMPLE_STEPS)
    return eps, pipe.denoise(noise, conditions, settings.guidance).float()


@contextmanager
def _norms(pipe: SMCDPipeline, dtype: torch.dtype) -> Iterator[None]:
    for module in pipe.unet.modules():
        if isinstance(module, _NORMS):
            _in_float32(module, dtype)
    yield


@contextmanager
def _time_embedding(pipe: SMCDPipeline, dtype: torch.dtype) -> Iterator[None]:
    _in_float32(pipe.unet.time_embedding, dtype)
    yield


@contextmanager
def _conv_out(pipe: SMCDPipeline, dtype: torch.dtype) -> Iterator[None]:
    _in_float32(pipe.unet.conv_out, dtype)
    yield


def _in_float32(module: nn.Module, dtype: torch.dtype) -> None:
    """Compute in float32, on 16-bit weights, between 16-bit inputs and outputs."""
    module.float()
    module.register_forward_pre_hook(lambda _, args: tuple(arg.float() for arg in args))
    module.register_forward_hook(lambda _module, _args, out: out.to(dtype))


@contextmanager
def _attention(pipe: SMCDPipeline, dtype: torch.dtype) -> Iterator[None]:
    plain = attention.scaled_dot_product_attention

    def wide(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, backend: str | None) -> Tensor:
        bias = None if bias is None else bias.float()
        return plain(query.float(), key.float(), value.float(), bias, backend).to(dtype)

    with patch.object(attention, "scaled_dot_product_attention", wide):
        yield


@contextmanager
def _rounded_boxes(pipe: SMCDPipeline, dtype: torch.dtype) -> Iterator[None]:
    """What PositionNet would see of boxes in 16 bits."""
    pipe.position_net.register_forward_pre_hook(lambda _, args: (args[0].to(dtype).float(), *args[1:]))
    yield


@contextmanager
def _narrow_sampler(pipe: SMCDPipeline, dtype: torch.dtype) -> Iterator[None]:
    """Guidance and the scheduler's steps in 16 bits: by default both are in float32."""
    step = pipe.scheduler.step

    def narrow(eps: Tensor, t: Any, latents: Tensor, **options: Any) -> tuple[Tensor, ...]:
        return tuple(x.to(dtype) for x in step(eps.to(dtype), t, latents.to(dtype), **options))

    with patch.object(pipe.scheduler, "step", narrow):
        yield


_Change = Callable[[SMCDPipeline, torch.dtype], Any]
_VARIANTS: dict[str, list[_Change]] = {
    "as it is": [],
    "norms in float32": [_norms],
    "attention in float32": [_attention],
    "time embedding in float32": [_time_embedding],
    "conv_out in float32": [_conv_out],
    "all of these in float32": [_norms, _attention, _time_embedding, _conv_out],
    "boxes in 16 bits": [_rounded_boxes],
    "scheduler's step in 16 bits": [_narrow_sampler],
}
