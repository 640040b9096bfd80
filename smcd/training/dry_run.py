"""What `--dry-run` prints: what would train, the memory that it needs, and the steps."""

import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.nn.utils.stateless import _reparametrize_module
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from smcd.conditions import Conditions
from smcd.config import DataConfig, GligenConfig, LoopOptions
from smcd.data.mixing import Mixture
from smcd.pipeline import SMCDPipeline
from smcd.training.objective import Example, TrainedNetworks
from smcd.training.run import clips_and_rate
from smcd.training.trained_networks import DTYPES, Model

_GIB = 2**30
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def dry_run(options: LoopOptions, model: Model, mixture: Mixture, processes: int, out: str) -> str:
    """The text: what would train on which clips, what that needs with so many processes, and where it would go."""
    drops = {name: share for name, share in asdict(model.stage.drops).items() if share}
    batch_size, half = options.train_batch_size, model.dtype != torch.float32
    memory = memory_of(model.pipe, model.networks, options.train_data, batch_size, half, options.use_8bit_adam)
    if options.use_ema:
        memory["running average"] = 4 * _size(model.networks.trained().values())
    of_step, rate = clips_and_rate(options, processes)
    clips = options.max_train_steps * of_step
    return "\n".join(
        [
            f"stage {model.stage.name}",
            "",
            *(f"trains {what}" for what in _what_trains(model.networks)),
            "",
            f"drops, for each sample: {', '.join(f'{name} {share:g}' for name, share in drops.items())}",
            "",
            f"memory of each process, in GiB ({_NAMES[model.dtype]} precision)",
            *(f"  {size / _GIB:8.3f}  {name}" for name, size in memory.items()),
            f"  {sum(memory.values()) / _GIB:8.3f}  together, beside the libraries' own",
            "",
            f"data: {', '.join(f'{source.name} ({len(source)} clips)' for source in mixture.sources)}",
            f"{options.max_train_steps} steps of {of_step} clips ({batch_size} at a time x "
            f"{options.gradient_accumulation_steps} accumulation x {processes} processes): "
            f"{clips} clips, {clips / len(mixture):.3g} epochs",
            f"learning rate {rate:g}, {options.lr_scheduler}",
            f"a checkpoint every {options.checkpointing_steps} steps, in {out}",
        ]
    )


def _what_trains(networks: TrainedNetworks) -> list[str]:
    """A line for each network, and one for all: tensors, and millions of parameters."""
    sizes: dict[str, list[int]] = defaultdict(list)
    for name, parameter in networks.trained().items():
        sizes[name.partition(".")[0]].append(parameter.numel())
    sizes["together"] = [size for of_part in sizes.values() for size in of_part]
    return [f"{name:14} {len(part):5} tensors {sum(part) / 1e6:10.2f} M" for name, part in sizes.items()]


def memory_of(
    pipe: SMCDPipeline, networks: TrainedNetworks, data: DataConfig, batch_size: int, half: bool, use_8bit_adam: bool
) -> dict[str, int]:
    """Bytes of a process that shares nothing with others (FSDP and ZeRO divide the first three)."""
    trained = _size(networks.trained().values())
    encoders = _size([*pipe.vae.parameters(), *pipe.text_encoder.parameters()])
    return {
        "weights that train, and their gradients": 8 * trained,
        "AdamW's state": (2 if use_8bit_adam else 8) * trained,
        "frozen weights": sum(weight.nbytes for weight in networks.parameters() if not weight.requires_grad),
        "VAE and text encoder": encoders * (2 if half else 4),
        "activations at their peak, about": activations_of(networks, lambda: _example(batch_size, data, pipe), half),
    }


def _size(parameters: Iterable[nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters)


def _example(clips: int, data: DataConfig, pipe: SMCDPipeline) -> Example:
    """A batch of the shapes that the data give, without content."""
    frames, height, width, objects = data.n_sample_frames, data.height, data.width, data.num_max_obj
    if data.name == "gligen":
        options = next(iter(data.dataset_names.values()), GligenConfig())
        frames, height, width, objects = 1, options.image_size, options.image_size, options.max_boxes_per_data
    unet, factor = pipe.unet.config, pipe.vae_scale_factor
    latents = torch.empty(clips, unet.in_channels, frames, height // factor, width // factor)
    text = torch.empty(clips, 77, unet.cross_attention_dim)
    conditions = Conditions(
        text=text,
        null_text=text,
        boxes=torch.empty(clips, frames, objects, 4),
        box_mask=torch.empty(clips, frames, objects),
        phrase_embeddings=torch.empty(clips, 1, objects, unet.cross_attention_dim),
        object_padding=None,
        image_latents=latents[:, :, 0],
    )
    return Example(latents, latents, torch.empty(clips, dtype=torch.long), conditions)


def activations_of(networks: TrainedNetworks, make_example: Callable[[], Example], half: bool = False) -> int:
    """Peak bytes of a forward and a backward pass, beside weights and their gradients; nothing is computed.

    Args:
        make_example: a batch of the right shapes; called where tensors hold nothing.
        half: under a GPU's autocast to 16 bits.
    """
    with FakeTensorMode(allow_non_fake_inputs=True):
        weights = {}
        for name, weight in networks.named_parameters():
            dtype = torch.float16 if weight.dtype == torch.bfloat16 else weight.dtype  # that of `_autocast_of_a_gpu`
            weights[name] = torch.empty(weight.shape, dtype=dtype, requires_grad=weight.requires_grad)
        example = make_example()
        autocast = _autocast_of_a_gpu() if half else nullcontext()
        # Around backward too: what is recomputed there needs the same stand-ins for the weights.
        with _reparametrize_module(networks, weights), autocast, PeakMemory() as memory:
            networks(example).sum().backward()
        gradients = sum(weight.grad.nbytes for weight in weights.values() if weight.grad is not None)
    return max(0, memory.peak - gradients)


@contextmanager
def _autocast_of_a_gpu() -> Iterator[None]:
    """Autocast with the dtypes that tensors have on a GPU: norms compute in float32 there, and attention in 16 bits.

    On a CPU, autocast leaves norms in 16 bits, and bfloat16 (not float16) would train with attention in float32.
    """

    def to_float32(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0].float(),) if isinstance(layer, nn.GroupNorm | nn.LayerNorm) else inputs

    hook = register_module_forward_pre_hook(to_float32)  # type: ignore[arg-type] # it says that hooks return nothing
    try:
        with torch.autocast("cpu", torch.float16):
            yield
    finally:
        hook.remove()


class PeakMemory(TorchDispatchMode):
    """While it is entered, counts the bytes of the tensors that operations make, on any device.

    Attributes:
        peak: the most bytes that were there at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = self._now = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence = (), kwargs: Mapping | None = None) -> Any:
        before = {leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and (storage := leaf.untyped_storage())._cdata not in before:
                before.add(storage._cdata)
                self._count(storage.nbytes())
                weakref.finalize(storage, self._count, -storage.nbytes())
        return result

    def _count(self, size: int) -> None:
        self._now += size
        self.peak = max(self.peak, self._now)
