#!/usr/bin/env python
"""Measure time, memory and FLOPs of sampling and training on random weights, beside diffusers' text-to-video model."""

import functools
import json
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import AutoencoderKL, TextToVideoSDPipeline, UNet3DConditionModel
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.profiler import profile
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count
from transformers import CLIPTextConfig, CLIPTextModel

from smcd import Conditions, ImageEncoder, PositionNet, SMCDPipeline, SMCDUNet3D
from smcd.config import configured
from smcd.config.model import COMPILE_MODES
from smcd.config.options import option
from smcd.guidance import Guidance, GuidedDenoiser
from smcd.models import use_channels_last
from smcd.runtime.allocation import keep_freed_memory
from smcd.runtime.compilation import compile_transformers
from smcd.runtime.errors import InputError, out_of_memory_advice
from smcd.schedulers import make_scheduler
from smcd.sprites.tiny import tiny_pipeline
from smcd.training.dry_run import PeakMemory
from smcd.training.objective import Example, TrainedNetworks, set_trained
from smcd.training.stages import trainable_parameters

Work = Callable[[], object]
Row = dict[str, Any]

WORKS = ("call", "profile", "clip", "train", "precision")
DTYPES = ("float32", "bfloat16", "float16")
SWEEPS = {"frames": (8, 16, 32), "pixels": (256, 384, 512), "objects": (1, 8, 30)}
MULTIPLE = {"full": 64, "tiny": 16}  # pixels must be a multiple of this
TIMESTEP = 401
BASE = "diffusers' base"
ATTENTION = {  # attention on a CPU counts as its matrix products: torch's counter knows the kernels of GPUs only
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda out, q, k, v, *_, **__: sdpa_backward_flop_count(out, q, k, v)
    ),
}


@dataclass
class Options:
    what: str = option("call", "measure one guided step, its profile, a clip, a training step or 16-bit errors", WORKS)
    vs: str | None = option(None, "call, profile, clip: take turns with diffusers' text-to-video model", ("base",))
    sweep: str | None = option(None, "call: measure the step for several values of this option", list(SWEEPS))
    size: str | None = option(None, "size; otherwise full, but tiny for train, precision on a CPU", list(MULTIPLE))
    device: str | None = option(None, "device that computes; otherwise the GPU if there is one", ("cpu", "cuda"))
    dtype: str = option("float32", "dtype of the weights, or of the autocast in train", DTYPES)
    base_dtype: str | None = option(None, "dtype of diffusers' model; otherwise the same", DTYPES)
    channels_last: bool | None = option(None, "lay convolutions out with channels last; otherwise only on a CPU")
    compile: bool = option(False, "compile the transformers of both models with torch.compile")
    compile_mode: str = option("default", "mode of torch.compile", COMPILE_MODES)
    steps: int = option(50, "clip: number of denoising steps")
    frames: int = option(8, "frames of a clip")
    pixels: int = option(256, "side of the square frames")
    objects: int = option(8, "objects of a clip")
    batch: int = option(1, "clips in a batch")
    branches: int = option(2, "guidance branches: 1 is none, 2 adds text, then image, text and image, boxes")
    low_memory: bool = option(False, "call, clip: guidance branches and frames one after the other")
    stage: str = option("2", "train: stage to train", ("1", "2"))
    gradient_checkpointing: bool = option(False, "train: recompute activations in backward")
    repeats: int = option(5, "turns of every work; each starts with a run that does not count")
    json: str | None = option(None, "write the numbers to this file")
    picture: str | None = option(None, "draw the times into this file (.png)")


def completed(given: Options) -> Options:
    """The options with what depends on the machine filled in. Raises an InputError if they do not go together."""
    what, on_gpu = given.what, given.device == "cuda" or (given.device is None and torch.cuda.is_available())
    for name in ("steps", "frames", "pixels", "objects", "batch", "branches", "repeats"):
        if getattr(given, name) < 1:
            raise InputError(f"{name} is {getattr(given, name)}; it must be at least 1")
    size = given.size or ("tiny" if what in ("train", "precision") and not on_gpu else "full")
    rules = {
        "--vs goes with --what call, profile or clip": given.vs and what not in ("call", "profile", "clip"),
        "--sweep goes with --what call, without --vs": given.sweep and (given.vs or what != "call"),
        "--low_memory goes with --what call or clip, without --vs": given.low_memory
        and (given.vs or what not in ("call", "clip")),
        "--gradient_checkpointing goes with --what train": given.gradient_checkpointing and what != "train",
        "--compile_mode has no effect: add --compile": given.compile_mode != "default" and not given.compile,
        "--branches is at most 5, and at most 2 with --vs": given.branches > (2 if given.vs else 5),
        "--what profile prints a table of operations: leave out --compile, --json and --picture": what == "profile"
        and (given.compile or given.json or given.picture),
        "--what precision gives no times: leave out --picture": given.picture and what == "precision",
        "training in float16 needs a GPU: use --dtype bfloat16": (what, given.dtype, on_gpu)
        == ("train", "float16", False),
        "there is no GPU that torch can use: leave out --device": on_gpu and not torch.cuda.is_available(),
        f"pixels is {given.pixels}; it must be a multiple of {MULTIPLE[size]}": given.pixels % MULTIPLE[size],
    }
    if wrong := [message for message, is_wrong in rules.items() if is_wrong]:
        raise InputError(wrong[0])
    last = not on_gpu if given.channels_last is None else given.channels_last
    device, base_dtype = "cuda" if on_gpu else "cpu", given.base_dtype or given.dtype
    return replace(given, size=size, device=device, base_dtype=base_dtype, channels_last=last)


def make_pipeline(options: Options, encoders: bool = False, **paths: bool) -> SMCDPipeline:
    """A pipeline with random weights and half open gates; PositionNet stays in float32.

    Args:
        encoders: False leaves out the full size's VAE and text encoder.
        paths: `object_gate`, `image_gate` and `image_concat` of the UNet; all True by default.
    """
    pipe = tiny_pipeline(**paths)
    if options.size == "full":
        vae = text_encoder = None
        torch.manual_seed(0)  # the same weights every time, which the errors of 16 bits need
        with torch.device(options.device):
            unet, position_net = SMCDUNet3D(**paths), PositionNet()
            image_encoder = ImageEncoder() if unet.config.image_gate else None
            if encoders:  # Stable Diffusion's VAE, and OpenCLIP's ViT-H-14 without its last layer
                down, up = ("DownEncoderBlock2D",) * 4, ("UpDecoderBlock2D",) * 4
                vae = AutoencoderKL(3, 3, down, up, block_out_channels=(128, 256, 512, 512), layers_per_block=2)
                text = {"hidden_size": 1024, "intermediate_size": 4096, "hidden_act": "gelu"}
                text_encoder = CLIPTextModel(CLIPTextConfig(**text, num_hidden_layers=23, num_attention_heads=16))
        pipe = SMCDPipeline(vae, text_encoder, pipe.tokenizer, unet, make_scheduler(), position_net, image_encoder)
    for part in (pipe.vae, pipe.text_encoder, pipe.unet, pipe.image_encoder):
        if part is not None:
            nn.Module.to(part, getattr(torch, options.dtype)).eval()
            if options.channels_last:
                use_channels_last(part)
    for name, parameter in pipe.unet.named_parameters():
        if "alpha_" in name:
            nn.init.constant_(parameter, 0.5)
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(options.device)


def make_base(unet: SMCDUNet3D) -> UNet3DConditionModel:
    """diffusers' text-to-video UNet of the same widths, on the same weights (shared, not copied)."""
    names = ("block_out_channels", "layers_per_block", "attention_head_dim", "cross_attention_dim")
    attends = unet.config.spatial_attention
    with torch.device("meta"):
        base = UNet3DConditionModel(
            down_block_types=tuple("CrossAttnDownBlock3D" if level else "DownBlock3D" for level in attends),
            up_block_types=tuple("CrossAttnUpBlock3D" if level else "UpBlock3D" for level in attends[::-1]),
            **{name: unet.config[name] for name in names},
        )
    base._repeated_blocks = ["Transformer2DModel", "TransformerTemporalModel"]  # for torch.compile; it names none
    weights = unet.state_dict()
    weights["conv_in.weight"] = weights["conv_in.weight"][:, : base.config.in_channels].contiguous()
    base.load_state_dict({name: weights[name] for name in base.state_dict()}, assign=True)
    return base.eval()


def make_noise(options: Options, seed: int = 1) -> Tensor:
    """Latents B 4 F h w, float32."""
    shape = (options.batch, 4, options.frames, options.pixels // 8, options.pixels // 8)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(options.device)


def make_conditions(options: Options, unet: nn.Module) -> Conditions:
    """Random text, phrases, boxes and first frames for a UNet, in its dtype."""
    generator, clips, objects = torch.Generator().manual_seed(0), options.batch, options.objects
    width, side = unet.config.cross_attention_dim, options.pixels // 8

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(options.device)

    corners = draw(clips, options.frames, objects, 2).sigmoid() / 2
    return Conditions(
        text=draw(clips, 77, width).to(unet.dtype),
        null_text=draw(clips, 77, width).to(unet.dtype),
        boxes=torch.cat([corners, corners + 0.3], dim=-1),
        box_mask=torch.ones(clips, options.frames, objects, device=options.device),
        phrase_embeddings=draw(clips, 1, objects, width),
        object_padding=None,
        image_latents=draw(clips, 4, side, side).to(unet.dtype),
    )


def guidance_of(options: Options) -> Guidance:
    return Guidance(7.5 if options.branches > 1 else 1.0, *(float(options.branches > n) for n in (2, 3, 4)))


def guided_step(options: Options, pipe: SMCDPipeline) -> Work:
    """One step of a sample, like every step but the first: keys and values of the conditions are cached."""
    denoiser = GuidedDenoiser(pipe.unet, pipe.position_net, pipe.image_encoder, options.low_memory)
    sample, timestep = make_noise(options), torch.tensor(TIMESTEP)
    with torch.no_grad():
        denoiser.prepare(make_conditions(options, pipe.unet), guidance_of(options))
    return torch.no_grad()(lambda: denoiser(sample, timestep))


def guided_base_step(options: Options, base: UNet3DConditionModel) -> Work:
    """The same step in diffusers' pipeline: null text and text as one batch, then the guidance formula."""
    conditions, sample = make_conditions(options, base), make_noise(options)
    texts = torch.cat([conditions.null_text, conditions.text][-options.branches :])

    @torch.no_grad()
    def step() -> Tensor:
        batch = sample.to(base.dtype).repeat(options.branches, 1, 1, 1, 1)
        predicted = base(batch, torch.tensor(TIMESTEP), texts, return_dict=False)[0].float().chunk(options.branches)
        return predicted[0] + 7.5 * (predicted[-1] - predicted[0])

    return step


def ready(options: Options, encoders: bool = False) -> tuple[SMCDPipeline, UNet3DConditionModel | None]:
    """The pipeline and, with `--vs base`, diffusers' UNet, both compiled if asked for."""
    pipe, base = make_pipeline(options, encoders), None
    if options.vs:
        base = nn.Module.to(make_base(pipe.unet), getattr(torch, options.base_dtype))
    for unet in (pipe.unet, base) if base else (pipe.unet,):
        if options.compile:
            compile_transformers(unet, options.compile_mode)
    return pipe, base


def guided_steps(options: Options) -> dict[str, Work]:
    """A guided step of each model, or of this project's model for several sizes."""
    pipe, base = ready(options)
    if name := options.sweep:
        sizes = {f"{value} {name}": replace(options, **{name: value}) for value in SWEEPS[name]}
        return {name: guided_step(size, pipe) for name, size in sizes.items()}
    theirs = {BASE: guided_base_step(options, base)} if base else {}
    return theirs | {"smcd": guided_step(options, pipe)}


def clips(options: Options) -> dict[str, Callable[..., object]]:
    """A whole clip through each model's pipeline; the works also take another `num_inference_steps`."""
    (pipe, base), guidance, side = ready(options, encoders=True), guidance_of(options), options.pixels
    shared = {"prompt": ["A red car drives to the right."] * options.batch, "height": side, "width": side}
    shared |= {"num_frames": options.frames, "guidance_scale": guidance.text}
    ours = {"image": torch.rand(3, side, side), "phrases": ["car"] * options.objects, "low_memory": options.low_memory}
    ours |= {"boxes": [[[0.1, 0.1, 0.4, 0.5]] * options.objects] * options.frames}
    ours |= {"image_guidance_scale": guidance.image, "text_image_guidance_scale": guidance.text_image}
    ours |= {"box_guidance_scale": guidance.boxes}
    theirs: dict[str, Callable[..., object]] = {}
    steps = {"num_inference_steps": options.steps}
    if base:
        base_pipe = TextToVideoSDPipeline(pipe.vae, pipe.text_encoder, pipe.tokenizer, base, pipe.scheduler)
        base_pipe.set_progress_bar_config(disable=True)
        theirs = {BASE: functools.partial(base_pipe, **shared, **steps, output_type="np")}
    elif options.low_memory:
        pipe.enable_vae_slicing()
        if options.device == "cuda":
            pipe.enable_model_cpu_offload(device=options.device)
    return theirs | {"smcd": functools.partial(pipe, **shared, **ours, **steps)}


def make_training(options: Options, encoders: bool = False) -> tuple[SMCDPipeline, TrainedNetworks, Example]:
    """The pipeline of a stage, its networks with what trains set, and a batch; `encoders` as in `make_pipeline`."""
    is_video, dtype = options.stage == "2", getattr(torch, options.dtype)
    options = replace(options, frames=options.frames if is_video else 1, dtype="float32")
    pipe = make_pipeline(options, encoders, image_gate=is_video, image_concat=is_video)
    parts = (pipe.unet, pipe.position_net, pipe.image_encoder)
    timesteps = torch.full((options.batch,), TIMESTEP, device=options.device)
    example = Example(make_noise(options), make_noise(options, 2), timesteps, make_conditions(options, pipe.unet))
    networks = TrainedNetworks(*parts, pipe.scheduler, temporal=is_video).train()
    set_trained(networks, trainable_parameters(options.stage, *parts), dtype)
    if options.gradient_checkpointing:
        pipe.unet.enable_gradient_checkpointing()
    return pipe, networks, example


def training_step(options: Options) -> dict[str, Work]:
    """A step on given latents: forward, backward, gradient norm and fused AdamW, without a loss scaler."""
    (pipe, networks, example), dtype = make_training(options), getattr(torch, options.dtype)
    if options.compile:
        compile_transformers(pipe.unet, options.compile_mode)
    parameters = list(networks.trained().values())
    optimizer = torch.optim.AdamW(parameters, lr=1e-12, fused=True)  # so slow that every step is like the first

    def step() -> None:
        with torch.autocast(options.device, dtype, enabled=dtype != torch.float32):
            loss = networks(example).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return {f"stage {options.stage}": step}


@torch.no_grad()
def precision(options: Options) -> list[Row]:
    """Relative errors of 16 bits against float32: of one call, and of the latents after ten guided steps."""

    def results(dtype: str) -> tuple[Tensor, Tensor]:
        pipe, noise = make_pipeline(replace(options, dtype=dtype)), make_noise(options)
        conditions = make_conditions(options, pipe.unet)
        inputs = conditions.unet_inputs(pipe.unet.config, pipe.position_net, pipe.image_encoder)
        pipe.scheduler.set_timesteps(10)
        sample = pipe.denoise(noise, conditions, guidance_of(options))
        return pipe.unet(noise.to(pipe.unet.dtype), TIMESTEP, **inputs).sample.float(), sample

    exact, rows = results("float32"), []
    for dtype in DTYPES[1:]:
        call, sample = (float((x - y).norm() / y.norm()) for x, y in zip(results(dtype), exact, strict=True))
        rows.append({"name": dtype, "error of one call": call, "after 10 steps": sample})
    return rows


def measure(works: dict[str, Work], options: Options) -> list[Row]:
    """Time the works by turns, A B A B ..., so that whatever else the machine does affects all of them alike."""
    threads = torch.get_num_threads()
    timers = {name: Timer("work()", globals={"work": work}, num_threads=threads) for name, work in works.items()}
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(options.repeats):
        for name, timer in timers.items():
            seconds[name] += timer.blocked_autorange().times
    rows: list[Row] = []
    for name, work in works.items():
        fake = options.what == "call"  # the others need what their tensors hold
        low, median, high = np.quantile(seconds[name], (0.25, 0.5, 0.75)).tolist()
        row = {"name": name, "seconds": seconds[name], "lower quartile": low, "median": median, "upper quartile": high}
        row["TFLOP"] = flops_of(work, fake) / 1e12
        speed = matrix_product_speed(options.device, options.base_dtype if name == BASE else options.dtype)
        row["share of ceiling"] = row["TFLOP"] / speed / median
        row["peak GiB"] = peak_of(work, options.device, fake) / 2**30
        rows.append(row)
        row |= {"time": median / rows[0]["median"], "FLOPs": row["TFLOP"] / rows[0]["TFLOP"]}
    return rows


@contextmanager
def counted(fake: bool) -> Iterator[None]:
    """Here work runs uncompiled, since torch's modes see nothing inside of compiled layers.

    `fake` work runs on tensors without content, which takes no time.
    """
    tensors = FakeTensorMode(allow_non_fake_inputs=True) if fake else nullcontext()
    with torch.compiler.set_stance("force_eager"), tensors:
        yield


def flops_of(work: Work, fake: bool = True) -> int:
    """Operations in matrix products and convolutions; a multiplication and an addition are two."""
    with counted(fake), FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter:
        work()
    return counter.get_total_flops()


def peak_of(work: Work, device: str, fake: bool = True) -> int:
    """Bytes at most: on a GPU all that is allocated, weights too; on a CPU the tensors that the work makes."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        work()
        return torch.cuda.max_memory_allocated()
    with counted(fake), PeakMemory() as memory:
        work()
    return memory.peak


@functools.cache
def matrix_product_speed(device: str, dtype: str) -> float:
    """The most TFLOP a second of a large matrix product: the best of those in a second."""
    side = 2048 if device == "cpu" else 8192
    a, b = (torch.randn(side, side, device=device).to(getattr(torch, dtype)) for _ in range(2))
    timer = Timer("a @ b", globals={"a": a, "b": b}, num_threads=torch.get_num_threads())
    return 2 * side**3 / 1e12 / min(timer.blocked_autorange(min_run_time=1).times)


def profiled(work: Work, device: str) -> str:
    """The profiler's table of the work's second run."""
    work()
    with profile() as profiler:
        work()
    return profiler.key_averages().table(sort_by=f"self_{device}_time_total", row_limit=20)


def table(rows: list[Row]) -> str:
    """A line for each row, with all of it but the single times."""
    names = [name for name in rows[0] if name != "seconds"]
    lines = [names, *([f"{x:.3g}" if isinstance(x := row[name], float) else x for name in names] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def draw(rows: list[Row], path: str) -> None:
    """Bars of the times and, on them, of the times of as many FLOPs in one large matrix product."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.5 + 0.5 * len(rows)), layout="constrained")
    axes = figure.subplots()
    names, medians = [row["name"] for row in rows], [row["median"] for row in rows]
    floors = [row["median"] * row["share of ceiling"] for row in rows]
    axes.barh(names, medians, label="median")
    axes.barh(names, floors, height=0.2, label="as many FLOPs in one large matrix product")
    axes.invert_yaxis()
    axes.set_xlabel("seconds")
    figure.legend(loc="outside lower center", ncols=2)
    figure.savefig(path)


def run(given: Options) -> None:
    """Print what was measured, and write the files that were asked for."""
    options = completed(given)
    gpu = torch.cuda.get_device_name() if options.device == "cuda" else platform.machine()
    environment = {"machine": gpu, "threads": torch.get_num_threads(), "torch": torch.__version__}
    shown = asdict(options) | environment | {"diffusers": diffusers.__version__}
    print(", ".join(f"{name} {value}" for name, value in shown.items() if value))
    if options.device == "cpu":
        keep_freed_memory()  # as the commands that sample do
    with out_of_memory_advice("try --size tiny, --dtype bfloat16, --low_memory, fewer --frames, --pixels or --batch"):
        if options.what == "profile":
            for name, step in guided_steps(options).items():
                print(f"{name}\n{profiled(step, options.device)}")
            return
        elif options.what == "precision":
            rows = precision(options)
        else:
            make_works = {"call": guided_steps, "clip": clips, "train": training_step}[options.what]
            rows = measure(make_works(options), options)
    print(table(rows))
    if options.json:
        Path(options.json).write_text(json.dumps({"config": shown, "rows": rows}, indent=1))
    if options.picture:
        draw(rows, options.picture)


if __name__ == "__main__":
    with configured(Options, __doc__) as options:
        run(options)
