#!/usr/bin/env python
"""Check and measure everything on a GPU in ten minutes, without a network; the result is a page of tables.

Each part runs in a process of its own, and each number is kept at once: a part that crashes or hangs costs only itself.
Given again, the command goes on with the parts that are not done.
"""

import functools
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any

import benchmark
import evaluate_sprites
import new_model
import numpy as np
import torch
from accelerate.state import AcceleratorState
from torch import Tensor
from torch.utils._pytree import tree_leaves

from smcd import ImageEncoder, PositionNet, SMCDPipeline, SMCDUNet3D
from smcd.config import DataConfig, ModelConfig, SamplingConfig, TrainConfig, configured, read_config
from smcd.config.options import option
from smcd.convert import from_published, to_published
from smcd.runtime.built_in import BUILT_IN, SPRITES
from smcd.runtime.errors import InputError, first_line
from smcd.runtime.files import new_file
from smcd.sampler import Sampler
from smcd.training import checkpoint
from smcd.training.dry_run import memory_of
from smcd.training.loop import train

ROOT = Path(__file__).resolve().parents[1]
Row = dict[str, Any]
Rows = Iterator[tuple[str, Row]]  # the title of a table, and a row of it


@dataclass(frozen=True)
class Size:
    """What is measured at a size of the network."""

    pixels: int
    steps: int  # of a clip
    batches: tuple[int, ...]  # clips at once
    stages: Mapping[str, int]  # batch of each stage of training
    frames: int = 8


SIZES = {
    "full": Size(256, 50, (1, 8), {"1": 64, "2": 4}),  # batches as published
    "tiny": Size(32, 2, (1, 2), {"1": 2, "2": 2}, 2),
}


@dataclass(frozen=True)
class Setting:
    """What a part is run with."""

    device: str
    size: str
    folder: Path  # for files of its own
    seconds: float  # its time limit

    @property
    def of_size(self) -> Size:
        return SIZES[self.size]

    def options(self, what: str, **more: Any) -> benchmark.Options:
        given = {"size": self.size, "device": self.device, "dtype": "bfloat16", "frames": self.of_size.frames}
        return benchmark.completed(benchmark.Options(what, **given | {"pixels": self.of_size.pixels} | more))


def tried(what: Row, work: Callable[[], Row]) -> Row:
    """A row whose failure does not end the part."""
    try:
        return what | work()
    except Exception as error:
        traceback.print_exc()
        return what | {"result": f"failed: {first_line(error)}"}


# ---- Results -------------------------------------------------------------------------------------------------------


def results(setting: Setting) -> Rows:
    """The published network's outputs, conversion bit for bit, and what 16 bits change; float32 is without TF32."""
    sys.path.append(str(ROOT))  # tests/ is not among the packages that are installed
    from tests import golden

    for name in golden.NAMES:
        row = tried({"golden": name}, functools.partial(golden_errors, golden, name, setting.device))
        yield "Golden outputs: relative errors", row
    yield "Conversion to our names and back", conversion(golden, setting)
    for row in benchmark.precision(setting.options("precision")):
        yield "Relative errors of 16-bit weights, random ones", row


def golden_errors(golden: Any, name: str, device: str) -> Row:
    g, error = golden.load(name), golden.relative_error
    g.tensors = {key: value.to(device) for key, value in g.tensors.items()}
    for part in (g.unet, g.position_net, g.image_encoder):
        if part is not None:
            part.to(device)
    errors, rounded = {}, {}
    with torch.no_grad():
        exact = g.call(objects=g.objects(), **g.image_inputs())
        errors["one call"] = error(exact, g.output("eps"))
        if "output.sample_10" in g.tensors:
            errors["10 guided steps"] = error(g.sample(10), g.output("sample_10"))
        for dtype in (torch.bfloat16, torch.float16):
            with torch.autocast(device, dtype):
                predicted = g.call(objects=g.objects(), **g.image_inputs())
            rounded[f"one call, autocast to {str(dtype).removeprefix('torch.')}"] = error(predicted.float(), exact)
    if "output.loss" in g.tensors:
        loss, gradients = g.loss_and_gradients()
        errors["loss"] = error(loss, g.output("loss"))
        pairs = gradients.values()
        errors["worst gradient norm"] = max(float((norm - to).abs() / to.clamp(min=1e-5)) for norm, to in pairs)
    bounds = {"one call": 1e-5}  # as in tests/models/test_goldens.py; all others 1e-4
    equal = all(value < bounds.get(what, 1e-4) for what, value in errors.items())
    return errors | rounded | {"result": "equal" if equal else "DIFFERS"}


def conversion(golden: Any, setting: Setting) -> Row:
    if setting.size == "full":
        keys = json.loads((golden.GOLDENS / "full_size_keys.json").read_text())["stage2"]["weights"]
        published = {
            part: {name: torch.randn(shape, device=setting.device) for name, shape in names.items()}
            for part, names in golden.parts_of(keys).items()
        }
    else:
        published = golden.load("smcd").published
    ours = from_published(published)
    if setting.size == "full":  # through the networks themselves
        with torch.device("meta"):
            networks = {"unet": SMCDUNet3D(), "position_net": PositionNet(), "visual_encoder": ImageEncoder()}
        for part, network in networks.items():
            network.load_state_dict(ours[part], assign=True)
        ours = {part: network.state_dict() for part, network in networks.items()}
    back = to_published(ours)
    tensors = [(tensor, back[part].get(name)) for part, names in published.items() for name, tensor in names.items()]
    equal = sum(other is not None and torch.equal(tensor, other) for tensor, other in tensors)
    return {"tensors": len(tensors), "bitwise equal": equal, "result": "equal" if equal == len(tensors) else "DIFFERS"}


# ---- Features ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Feature:
    """Something that sampling can do.

    Attributes:
        options: of the commands.
        change: what is done to the pipeline instead.
        bound: the largest relative difference of its frames from the plain ones; None: they are others.
        lacks: why it cannot be tried, or None.
    """

    options: Row = field(default_factory=dict)
    change: Callable[[SMCDPipeline], object] = lambda pipe: None
    bound: float | None = 0.005  # frames are rounded to 8 bits
    lacks: str | None = None


def all_features(device: str) -> dict[str, Feature]:
    gpu = None if device == "cuda" else "needs a GPU"
    xformers = gpu or (None if find_spec("xformers") else "xformers is not installed")
    lora = None if hasattr(SMCDPipeline, "load_lora_weights") else "the pipeline has no LoRA yet"
    guidance = dict.fromkeys(("img_free_guidance", "ti_free_guidance", "box_free_guidance"), 1.0)
    long = SamplingConfig(12, 64, 64, 4)  # frames; more than in training
    group = {"onload_device": torch.device(device), "offload_type": "leaf_level"}
    return {
        "the same again": Feature(),
        "--low_memory": Feature({"low_memory": True}),
        "--mixed_precision fp16": Feature({"mixed_precision": "fp16"}, bound=0.03, lacks=gpu),
        "--mixed_precision bf16": Feature({"mixed_precision": "bf16"}, bound=0.1),
        "--dtype float16": Feature({"dtype": "float16"}, bound=0.03),
        "--dtype bfloat16": Feature({"dtype": "bfloat16"}, bound=0.1),
        "weights in fp8, computing in bfloat16": Feature({"dtype": "bfloat16"}, cast_to_fp8, 0.3),
        "--scheduler dpmsolver++": Feature({"scheduler": "dpmsolver++"}, bound=None),
        "--scheduler unipc": Feature({"scheduler": "unipc"}, bound=None),
        "five guidance branches": Feature(guidance, bound=None),
        "windows over time": Feature({"validation_data": long}, bound=None),
        "LoRA": Feature(change=add_lora, lacks=lora or (None if find_spec("peft") else "peft is not installed")),
        "xformers": Feature({"enable_xformers_memory_efficient_attention": True}, lacks=xformers),
        "model offload": Feature(change=lambda pipe: pipe.enable_model_cpu_offload(device=device), lacks=gpu),
        "sequential offload": Feature(change=lambda pipe: pipe.enable_sequential_cpu_offload(device=device), lacks=gpu),
        "group offload": Feature(change=lambda pipe: pipe.enable_group_offload(**group), lacks=gpu),
        "--compile": Feature({"compile": True}, lacks=gpu),
        "--compile, CUDA graphs": Feature({"compile": True, "compile_mode": "reduce-overhead"}, lacks=gpu),
    }


def cast_to_fp8(pipe: SMCDPipeline) -> None:
    pipe.unet.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.bfloat16)


def add_lora(pipe: SMCDPipeline) -> None:
    """An adapter whose second matrix is zero, so that it changes nothing."""
    from peft import LoraConfig

    pipe.unet.add_adapter(LoraConfig(r=4, target_modules=["to_q", "to_k", "to_v", "to_out.0"]))


def features(setting: Setting) -> Rows:
    """What sampling can do, once each with the built-in model: its frames, beside plain ones in float32."""
    plain = frames_of(Feature(), setting.device)

    def result(feature: Feature) -> Row:
        start = time.perf_counter()
        frames = frames_of(feature, setting.device)
        row: Row = {"seconds": time.perf_counter() - start}
        if feature.bound is None:
            return row | {"result": "runs"}
        difference = float(np.linalg.norm(frames - plain) / np.linalg.norm(plain))
        row |= {"difference": difference, "bound": feature.bound}
        return row | {"result": "as plain" if difference < feature.bound else "DIFFERS"}

    for name, feature in all_features(setting.device).items():
        row: Row = {"feature": name}
        if feature.lacks:
            yield "Features", row | {"result": f"skipped: {feature.lacks}"}
        else:
            yield "Features", tried(row, functools.partial(result, feature))


def frames_of(feature: Feature, device: str) -> np.ndarray:
    """A clip of four steps; raises an InputError if the network gives NaN or infinity."""
    config = ModelConfig(**{"mixed_precision": "no", "validation_data": SamplingConfig(8, 64, 64, 4)} | feature.options)
    sampler = Sampler(config, torch.device(device))
    feature.change(sampler.pipe)
    image, frames = np.full((64, 64, 3), 128, np.uint8), config.validation_data.video_length
    image[10:30, 10:30] = (255, 0, 0)
    boxes = [[[0.15, 0.15, 0.45, 0.45], None]] * frames
    generator = torch.Generator().manual_seed(1)
    [video] = sampler(["A red square that is waiting."], [image], [boxes], [["red square", ""]], [generator])
    return video.astype(float)


# ---- Times ---------------------------------------------------------------------------------------------------------


def seconds_of(works: Mapping[str, Callable[[], object]], turns: int, device: str) -> dict[str, list[float]]:
    """Each work once uncounted, then all by turns, A B A B."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(1 + turns):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if device == "cuda":
                torch.cuda.synchronize()
            seconds[name] += [time.perf_counter() - start] if turn else []
    return seconds


def timed(network: str, options: benchmark.Options, seconds: list[float], flops: float, peak: float) -> Row:
    """A row of times. The ceiling is one large matrix product in the same precision."""
    middle, ceiling = median(seconds), benchmark.matrix_product_speed(options.device, options.dtype)
    row = {
        "network": network,
        "batch": options.batch,
        "seconds": middle,
        "fastest": min(seconds),
        "slowest": max(seconds),
    }
    return row | {"TFLOP": flops / 1e12, "share of ceiling": flops / 1e12 / ceiling / middle, "peak GiB": peak / 2**30}


def guided_steps(setting: Setting) -> Rows:
    """Large matrix products, then one guided step beside diffusers' network, in bfloat16."""
    for dtype in ("bfloat16", "float16", "float32"):
        speed = benchmark.matrix_product_speed(setting.device, dtype)
        yield "One large matrix product", {"dtype": dtype, "TFLOP/s": speed}
    for batch in setting.of_size.batches:
        options = setting.options("call", vs="base", batch=batch)
        works = benchmark.guided_steps(options)
        for name, seconds in seconds_of(works, 10, setting.device).items():
            fake = setting.device == "cpu"  # where a step takes long
            flops = benchmark.flops_of(works[name], fake)
            peak = benchmark.peak_of(works[name], setting.device, fake)
            yield "A guided step, bfloat16", timed(name, options, seconds, flops, peak)


def clips(setting: Setting, compiled: bool) -> Rows:
    """Whole clips through both pipelines, in bfloat16."""
    size, device = setting.of_size, setting.device
    mode = "reduce-overhead" if compiled and device == "cuda" else "default"  # replays CUDA graphs
    title = f"A clip of {size.steps} steps, bfloat16{', compiled' if compiled else ''}"
    for batch in size.batches:
        shared = {"batch": batch, "steps": size.steps, "compile": compiled, "compile_mode": mode}
        options = setting.options("clip", vs="base", **shared)
        works = benchmark.clips(options)
        for name, seconds in seconds_of(works, 2, device).items():
            one, two = (functools.partial(works[name], num_inference_steps=steps) for steps in (1, 2))
            flops = [benchmark.flops_of(work, fake=False) for work in (one, two)]
            total = flops[0] + (size.steps - 1) * (flops[1] - flops[0])  # all steps but the first are alike
            yield title, timed(name, options, seconds, total, benchmark.peak_of(one, device, fake=False))


# ---- Training ------------------------------------------------------------------------------------------------------


def training(setting: Setting) -> Rows:
    """Steps of both stages in bfloat16 on given latents, and their memory beside what `--dry-run` foretells."""
    for stage, batch in setting.of_size.stages.items():
        for checkpointing in (False, True):
            shared = {"stage": stage, "batch": batch, "gradient_checkpointing": checkpointing}
            shared |= {"objects": 30 if stage == "1" else 8}  # as published
            options = setting.options("train", **shared)
            yield "Training", tried(shared, functools.partial(training_row, options))
            if setting.device == "cuda":
                torch.cuda.empty_cache()


def training_row(options: benchmark.Options) -> Row:
    foretold = foretold_memory(options)
    (step,) = benchmark.training_step(options).values()
    seconds = median(seconds_of({"step": step}, 5, options.device)["step"])
    flops = benchmark.flops_of(step, fake=False) / 1e12
    share = flops / benchmark.matrix_product_speed(options.device, options.dtype) / seconds
    row = {"steps a second": 1 / seconds, "share of ceiling": share, "foretold GiB": foretold / 2**30}
    if options.device == "cuda":  # a CPU's peak holds no weights
        row["peak GiB"] = benchmark.peak_of(step, options.device, fake=False) / 2**30
    return row


def foretold_memory(options: benchmark.Options) -> int:
    """What `--dry-run` counts, without the encoders, which steps on given latents do not need."""
    pipe, networks, example = benchmark.make_training(replace(options, device="meta"), encoders=True)
    frames, side = example.latents.shape[2], options.pixels
    data = DataConfig(n_sample_frames=frames, width=side, height=side, num_max_obj=options.objects)
    memory = memory_of(pipe, networks, data, options.batch, half=True, use_8bit_adam=False)
    return sum(memory.values()) - memory["VAE and text encoder"]


LAST, KILLED = 12, 6  # steps of a run that is to be resumed, and when it is killed
COMMAND = """
import runpy, sys, torch
torch.use_deterministic_algorithms(sys.argv.pop(1) == "deterministic", warn_only=True)
runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""


def resuming(setting: Setting) -> Rows:
    """Runs of the tiny network that end alone, end again, and are killed with `kill -9` and resumed."""
    for kernels in ("default", "deterministic"):
        shutil.rmtree(setting.folder / kernels, ignore_errors=True)
        runs = {name: setting.folder / kernels / name for name in ("straight", "straight again", "killed and resumed")}
        started = {name: start_training(out, kernels, setting.device) for name, out in runs.items()}
        killed, metrics = started["killed and resumed"], runs["killed and resumed"] / "metrics.jsonl"
        while killed.poll() is None and not (metrics.exists() and len(metrics.read_text().splitlines()) >= KILLED):
            time.sleep(0.02)
        killed.kill()
        if killed.wait() != -signal.SIGKILL:
            raise RuntimeError("a run ended before it was killed; the log says why")
        started["killed and resumed"] = start_training(runs["killed and resumed"], kernels, setting.device)
        codes = [run.wait() for run in started.values()]
        if any(codes):
            raise RuntimeError("a run failed; the log says why")
        again, resumed = (checkpoint_difference(runs[name], runs["straight"]) for name in list(runs)[1:])
        found = {
            "straight again": (again, "does not repeat itself"),
            "killed and resumed": (resumed, "differs, as a repeated run does" if again else "DIFFERS"),
        }
        for name, (difference, words) in found.items():
            row = {"kernels": kernels, "run": name, "difference": difference}
            yield f"Checkpoints after {LAST} steps", row | {"result": words if difference else "bitwise equal"}


def start_training(out: Path, kernels: str, device: str) -> subprocess.Popen:
    """The training command on 2 frames of 32 x 32 pixels."""
    flags = {"output_dir": out, "stage": 2, "max_train_steps": LAST, "checkpointing_steps": 4, "logging_steps": 1}
    flags |= {"train_batch_size": 2, "num_workers": 1, "mixed_precision": "bf16" if device == "cuda" else "no"}
    data = ("datasets=[sprites]", "sprites_clips=20", "n_sample_frames=2", "width=32", "height=32", "num_max_obj=2")
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    words += [f"train_data.{word}" for word in data]
    path = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    return subprocess.Popen([sys.executable, "-c", COMMAND, kernels, ROOT / "ms_main.py", *words], env=environment)


def checkpoint_difference(one: Path, other: Path) -> float:
    """The largest relative difference between tensors of two runs' last checkpoints, optimizer and random state too."""
    contents = [checkpoint.read(folder / f"checkpoint-{LAST}") for folder in (one, other)]
    pairs = zip(*(tree_leaves((content.trained, content.state)) for content in contents), strict=True)
    different = [(a.double(), b.double()) for a, b in pairs if isinstance(a, Tensor) and not torch.equal(a, b)]
    return max((float((a - b).norm() / b.norm().clamp(min=1e-30)) for a, b in different), default=0.0)


# ---- The small world -----------------------------------------------------------------------------------------------

SHARES = {"base_frames": 0.35, "base": 0.15, "stage1": 0.2, "stage2": 0.3}  # of the time, for each config of the recipe
EVALUATION = 60  # seconds that are kept for the table
PROBE = 20  # steps that show how fast a stage is


def small_world(setting: Setting) -> Rows:
    """The sprites recipe, from an untrained network with the built-in VAE to stage 2, in the time that is left."""
    end, folder, full = time.monotonic() + setting.seconds - EVALUATION, setting.folder, setting.size == "full"
    shutil.rmtree(folder, ignore_errors=True)
    words = [f"output_dir={folder / 'untrained'}", f"vae={BUILT_IN[SPRITES] / 'vae'}"]
    before = new_model.make_small_model(read_config(new_model.Options, ROOT / "configs" / "sprites_model.yaml", words))
    for number, (name, share) in enumerate(SHARES.items()):
        source = "tune_from_ckpt_path" if name == "stage2" else "pretrained_model_path"
        words = [f"{source}={before}", *([] if full else ["train_batch_size=2"])]
        rate, _ = train_small(name, folder / f"{name}_probe", PROBE if full else 2, words)
        seconds = (end - time.monotonic()) * share / sum(list(SHARES.values())[number:])
        steps = max(PROBE, int(0.85 * rate * seconds)) if full else 2
        rate, loss = train_small(name, folder / name, steps, words)
        yield "The small world: training", {"config": name, "steps": steps, "steps a second": rate, "loss": loss}
        before = folder / name / "pipeline"
    yield from small_world_table(
        before, folder / "evaluation", SamplingConfig(num_inference_steps=25 if full else 2), full
    )


def train_small(name: str, out: Path, steps: int, words: list[str]) -> tuple[float, float]:
    """Steps a second and loss at the end of a training of the recipe."""
    shorter = {"output_dir": out, "max_train_steps": steps, "checkpointing_steps": steps, "validation_steps": 0}
    shorter |= {"lr_warmup_steps": min(200, steps // 10), "logging_steps": max(1, steps // 2)}
    shorter["num_workers"] = min(8, os.cpu_count() or 1)
    words = [*(f"{key}={value}" for key, value in shorter.items()), *words]
    config = read_config(TrainConfig, ROOT / "configs" / f"sprites_{name}.yaml", words)
    AcceleratorState._reset_state(True)  # a process is meant to train once
    train(config)
    AcceleratorState._reset_state(True)
    last = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    return last["steps_per_second"], last["loss"]


def small_world_table(model: Path, out: Path, sampling: SamplingConfig, full: bool) -> Rows:
    scenes = {"clips": 32, "batch_size": 32} if full else {"clips": 1, "batch_size": 8}
    evaluate_sprites.evaluate(
        evaluate_sprites.Options(trained_ckpt_path=str(model), out=str(out), validation_data=sampling, **scenes)
    )
    for row in json.loads((out / "table.json").read_text())["rows"]:
        made = evaluate_sprites.Row(**row)
        numbers = {title: value(made) for title, (value, _) in evaluate_sprites.COLUMNS.items()}
        yield "The small world: held-out scenes", {"": made.name, "clips": made.clips} | numbers


# ---- Parts, one after the other ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """A part of the check; docs/gpu.md says where the seconds come from.

    Attributes:
        expected, limit: seconds on an H100, process start included. Without a GPU there is no limit.
        alone: it measures times, so that nothing may run beside it.
    """

    run: Callable[[Setting], Rows]
    expected: int
    limit: int
    alone: bool = True


PARTS = {  # in the order in which they run: what compiles comes late, since that takes long
    "results": Part(results, 50, 120, alone=False),
    "features": Part(features, 60, 150, alone=False),
    "resuming": Part(resuming, 60, 150, alone=False),
    "steps": Part(guided_steps, 40, 90),
    "clips": Part(functools.partial(clips, compiled=False), 110, 180),
    "training": Part(training, 75, 150),
    "compiled_clips": Part(functools.partial(clips, compiled=True), 200, 350),
    "small_world": Part(small_world, 100, 550),
}
LEAST = 20  # seconds: a part is not started with less


@dataclass
class Options:
    out: str = option("outputs/gpu_check", "folder for results, log and page; what is done there is kept", filled=True)
    parts: list[str] = option(list(PARTS), "parts to run", list(PARTS))
    device: str | None = option(None, "device; otherwise the GPU if there is one", ("cpu", "cuda"))
    size: str = option("full", "size of the network that is measured", list(SIZES))
    minutes: float = option(9.5, "time for all parts; the same command later runs what is left", above=0)
    again: bool = option(False, "also run the parts that are done")
    page: str | None = option(None, "Markdown file of all tables; otherwise page.md in the folder")
    page_only: bool = option(False, "run nothing: make the page of what is done")


@dataclass
class Result:
    """What is known of a part: the machine and versions, its rows by table, how it ended (None: it did not)."""

    versions: Row
    tables: dict[str, list[Row]] = field(default_factory=dict)
    end: str | None = None
    seconds: float = 0.0


def write(folder: Path, part: str, **entry: Any) -> None:
    """Add a line to the results: the start of a part, one of its rows, or its end."""
    with (folder / "results.jsonl").open("a") as file:
        file.write("\n" + json.dumps({"part": part, **entry}))  # also after a line that a stop cut off


def read(folder: Path) -> dict[str, Result]:
    """The latest result of each part."""
    found: dict[str, Result] = {}
    path = folder / "results.jsonl"
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        if "versions" in entry:
            found[entry["part"]] = Result(entry["versions"])
            continue
        result = found.setdefault(entry["part"], Result({}))  # a part may be stopped before its first line
        if "row" in entry:
            result.tables.setdefault(entry["table"], []).append(entry["row"])
        else:
            result.end, result.seconds = entry["end"], entry["seconds"]
    return found


def run_part(name: str, part: Part, folder: Path, setting: Setting) -> None:
    """What the process of a part does."""
    os.setpgid(0, 0)  # so that all its processes can be stopped together
    with (folder / "log.txt").open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    if setting.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    start, end = time.monotonic(), "done"
    write(folder, name, versions=checkpoint.versions() | {"size": setting.size})
    try:
        for title, row in part.run(setting):
            write(folder, name, table=title, row=row)
    except Exception as error:
        traceback.print_exc()
        end = f"failed: {first_line(error)}"
    write(folder, name, end=end, seconds=time.monotonic() - start)


def run_together(names: list[str], folder: Path, settings: Mapping[str, Setting]) -> None:
    """Run parts at the same time, each in a process of its own, and stop those that take too long."""
    context, start = multiprocessing.get_context("spawn"), time.monotonic()
    processes = {
        name: context.Process(target=run_part, args=(name, PARTS[name], folder, settings[name])) for name in names
    }
    try:
        for process in processes.values():
            process.start()
        for name, process in processes.items():
            process.join(max(0.0, start + settings[name].seconds - time.monotonic()))
            if process.exitcode != 0:
                end = f"ended with exit code {process.exitcode}"
                if process.exitcode is None:
                    end = f"stopped after {settings[name].seconds:.0f} s"
                write(folder, name, end=end, seconds=time.monotonic() - start)
    finally:
        for process in processes.values():
            if process.pid is not None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.kill()
                process.join()


def run(options: Options) -> str:
    """Run the parts that are not done, as far as the time goes; returns the page, which is also written on the way."""
    folder, end = Path(options.out).absolute(), time.monotonic() + 60 * options.minutes
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("there is no GPU that torch can use: add --device cpu --size tiny")
    folder.mkdir(parents=True, exist_ok=True)
    done = {name for name, result in read(folder).items() if result.end == "done" and not options.again}
    waiting = [] if options.page_only else [name for name in PARTS if name in options.parts and name not in done]
    for alone, group in groupby(waiting, lambda name: PARTS[name].alone):
        for names in ([name] for name in group) if alone else [list(group)]:
            left = end - time.monotonic()
            if left < LEAST:
                print(f"no time is left for {', '.join(names)}: give the command again")
                continue
            limits = {name: min(left, PARTS[name].limit) if device == "cuda" else left for name in names}
            run_together(
                names, folder, {name: Setting(device, options.size, folder / name, limits[name]) for name in names}
            )
            found = read(folder)
            for name in names:
                print(f"{name}: {found[name].end}, {found[name].seconds:.0f} s", flush=True)
            write_page(options, folder)
    return write_page(options, folder)


# ---- The page ------------------------------------------------------------------------------------------------------


def write_page(options: Options, folder: Path) -> str:
    """Write the tables; of a page that is there, what stands above them stays."""
    target, text = Path(options.page) if options.page else folder / "page.md", page(read(folder))
    above = target.read_text().partition("## Parts\n")[0] if target.is_file() else "# The check on a GPU\n\n"
    with new_file(target) as path:
        path.write_text(above + text)
    return text


def page(found: Mapping[str, Result]) -> str:
    """All tables in Markdown, after one of the parts."""
    overview = []
    for name, part in PARTS.items():
        result = found.get(name)
        row: Row = {"part": name, "result": "not run", "seconds on an H100, expected": part.expected, "seconds": None}
        if result is not None:
            row |= {"result": result.end or "did not end", "seconds": round(result.seconds)} | result.versions
        overview.append(row)
    tables = {"Parts": overview}
    for result in (found[name] for name in PARTS if name in found):
        for title, rows in result.tables.items():
            tables.setdefault(title, []).extend(rows)
    return "\n\n".join(f"## {title}\n\n{table(rows)}" for title, rows in tables.items()) + "\n"


def table(rows: list[Row]) -> str:
    """Rows in Markdown, with all columns that any of them has."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [columns, ["---"] * len(columns), *([shown(row.get(name)) for name in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return "" if value is None else str(value)


if __name__ == "__main__":
    with configured(Options, __doc__) as options:
        print(run(options))
