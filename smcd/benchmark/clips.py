"""A whole clip, its decoding, and what `--low_memory` saves."""

from collections.abc import Callable

import torch
from diffusers import TextToVideoSDPipeline
from torch._subclasses.fake_tensor import FakeTensorMode

from smcd.benchmark.calls import guided_base_step, guided_step, ready_base, ready_pipeline
from smcd.benchmark.content import make_noise
from smcd.benchmark.flops import ceiling, count
from smcd.benchmark.measure import Row, Work, by_turns
from smcd.benchmark.memory import Peak
from smcd.benchmark.settings import Settings
from smcd.latents import decode_video
from smcd.pipeline import SMCDPipeline
from smcd.training.dry_run import PeakMemory

_PROMPT = "A red car drives to the right."


def clip(settings: Settings) -> list[Row]:
    """A whole clip through the pipeline and, with `--vs base`, one through diffusers'."""
    pipe = ready_pipeline(settings, encoders=True)
    decode = _decode(settings, pipe)
    works: dict[str, Work] = {}
    steps: dict[str, Work] = {}
    if settings.config.vs:
        base = ready_base(settings, pipe)
        works["diffusers' base"] = _base_clip(settings, pipe, base)
        steps["diffusers' base"] = guided_base_step(settings, pipe, base)
    works["smcd"] = _clip(settings, pipe)
    if settings.config.low_memory:  # smcd's alone: the base decodes with the same VAE
        works["smcd"] = _sliced(pipe, works["smcd"])
    steps["smcd"] = guided_step(settings, pipe)
    rows = by_turns(works, settings.config.repeats, settings.device)
    for name, row in rows.items():
        steps[name]()  # fills the cache of keys and values
        row.flops = settings.config.steps * count(steps[name]) + count(decode)
        row.ceiling = ceiling(settings.device, settings.dtype if name == "smcd" else settings.base_dtype)
    return list(rows.values())


def _clip(settings: Settings, pipe: SMCDPipeline, low_memory: bool | None = None) -> Work:
    config = settings.config
    boxes = [[[0.1, 0.1, 0.4, 0.5]] * config.objects] * config.frames
    image = torch.rand(3, config.pixels, config.pixels, generator=torch.Generator().manual_seed(0))
    guidance = settings.guidance
    return lambda: pipe(
        [_PROMPT] * config.batch,
        image,
        boxes,
        ["car"] * config.objects,
        num_frames=config.frames,
        height=config.pixels,
        width=config.pixels,
        num_inference_steps=config.steps,
        guidance_scale=guidance.text,
        image_guidance_scale=guidance.image,
        text_image_guidance_scale=guidance.text_image,
        box_guidance_scale=guidance.boxes,
        low_memory=config.low_memory if low_memory is None else low_memory,
    )


def _base_clip(settings: Settings, pipe: SMCDPipeline, base: torch.nn.Module) -> Work:
    config = settings.config
    parts = (pipe.vae, pipe.text_encoder, pipe.tokenizer, base, pipe.scheduler)
    base_pipe = TextToVideoSDPipeline(*parts)
    base_pipe.set_progress_bar_config(disable=True)
    return lambda: base_pipe(
        [_PROMPT] * config.batch,
        height=config.pixels,
        width=config.pixels,
        num_frames=config.frames,
        num_inference_steps=config.steps,
        guidance_scale=settings.guidance.text,
        output_type="np",
    )


def _decode(settings: Settings, pipe: SMCDPipeline) -> Callable[[], torch.Tensor]:
    latents = make_noise(settings, pipe.unet.config)

    def decode() -> torch.Tensor:
        with torch.no_grad():
            return decode_video(pipe.vae, latents)

    return decode


def vae(settings: Settings) -> list[Row]:
    """Decoding a clip's frames at once, and one by one."""
    pipe = ready_pipeline(settings, encoders=True)
    decode = _decode(settings, pipe)
    rows = by_turns({"at once": decode, "in slices": _sliced(pipe, decode)}, settings.config.repeats, settings.device)
    flops = count(decode)
    for row in rows.values():
        row.flops, row.ceiling = flops, ceiling(settings.device, settings.dtype)
    return list(rows.values())


def _sliced(pipe: SMCDPipeline, plain: Work) -> Work:
    """The same work with frames decoded one by one."""

    def work() -> None:
        pipe.vae.enable_slicing()
        try:
            plain()
        finally:
            pipe.vae.disable_slicing()

    return work


def memory(settings: Settings) -> list[Row]:
    """Peaks of a guided step, of decoding and, on a GPU, of a whole clip: plain, and as `--low_memory` does them."""
    pipe = ready_pipeline(settings, encoders=True)
    decode = _decode(settings, pipe)
    works: dict[str, Work] = {
        "guided step": guided_step(settings, pipe, low_memory=False),
        "guided step, branches one by one": guided_step(settings, pipe, low_memory=True),
        "decoding": decode,
        "decoding, frames one by one": _sliced(pipe, decode),
    }
    rows = list(by_turns(works, settings.config.repeats, settings.device).values())
    for row in rows:
        row.notes["GiB of tensors"] = _tensors(works[row.name]) / 2**30
    if settings.device.type == "cuda":
        rows += _clips_with_offloading(settings, pipe)
    return rows


def _tensors(work: Work) -> int:
    """The most bytes of tensors at once, counted without computing: exact, but without what kernels take inside."""
    eager, fake = torch.compiler.set_stance("force_eager"), FakeTensorMode(allow_non_fake_inputs=True)
    with eager, fake, torch.no_grad(), PeakMemory() as memory:  # what is compiled would show no tensors
        work()
    return memory.peak


def _clips_with_offloading(settings: Settings, pipe: SMCDPipeline) -> list[Row]:
    """Whole clips with all networks on the GPU, and with each there only while it computes; peaks with the weights."""
    rows = []
    for name, low_memory in (("clip, with weights", False), ("clip, low_memory and offloading", True)):
        if low_memory:
            pipe.enable_vae_slicing()
            pipe.enable_model_cpu_offload(device=settings.device)
        work = _clip(settings, pipe, low_memory)
        work()
        with Peak(settings.device) as peak:
            work()
        rows.append(Row(name, peak=peak.total))
    return rows
