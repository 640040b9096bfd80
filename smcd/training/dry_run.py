"""What `--dry-run` prints: what would train, the memory that it needs, and the steps."""

import weakref
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from smcd.conditions import Conditions
from smcd.config import DataConfig, GligenConfig
from smcd.data.mixing import Mixture
from smcd.pipeline import SMCDPipeline
from smcd.training.objective import Example, TrainedNetworks
from smcd.training.run import Plan
from smcd.training.trained_networks import Model

_GIB = 2**30


def describe(plan: Plan, model: Model, data: DataConfig, mixture: Mixture, out: str) -> str:
    """The text: what trains on these clips, and what that needs."""
    drops = {name: share for name, share in asdict(model.stage.drops).items() if share}
    memory = memory_of(plan, model.pipe, model.networks, data)
    clips = plan.max_train_steps * plan.clips
    return "\n".join(
        [
            f"stage {model.stage.name}",
            "",
            *(f"trains {what}" for what in _what_trains(model.networks)),
            "",
            f"drops, for each sample: {', '.join(f'{name} {share:g}' for name, share in drops.items())}",
            "",
            f"memory of each process, in GiB ({plan.mixed_precision} precision)",
            *(f"  {size / _GIB:8.3f}  {name}" for name, size in memory.items()),
            f"  {sum(memory.values()) / _GIB:8.3f}  together, beside the libraries' own",
            "",
            f"data: {', '.join(f'{source.name} ({len(source)} clips)' for source in mixture.sources)}",
            f"{plan.max_train_steps} steps of {plan.clips} clips ({plan.train_batch_size} at a time x "
            f"{plan.gradient_accumulation_steps} accumulation x {plan.processes} processes): "
            f"{clips} clips, {clips / len(mixture):.3g} epochs",
            f"learning rate {plan.learning_rate:g}, {plan.lr_scheduler}",
            f"a checkpoint every {plan.checkpointing_steps} steps, in {out}",
        ]
    )


def _what_trains(networks: TrainedNetworks) -> list[str]:
    """A line for each network, and one for all: tensors, and millions of parameters."""
    sizes: dict[str, list[int]] = defaultdict(list)
    for name, parameter in networks.trained().items():
        sizes[name.partition(".")[0]].append(parameter.numel())
    sizes["together"] = [size for of_part in sizes.values() for size in of_part]
    return [f"{name:14} {len(part):5} tensors {sum(part) / 1e6:10.2f} M" for name, part in sizes.items()]


def memory_of(plan: Plan, pipe: SMCDPipeline, networks: TrainedNetworks, data: DataConfig) -> dict[str, int]:
    """Bytes of a process that shares nothing with others (FSDP and ZeRO divide the first three)."""
    half = plan.mixed_precision != "no"
    trained = sum(parameter.numel() for parameter in networks.trained().values())
    encoders = sum(parameter.numel() for part in (pipe.vae, pipe.text_encoder) for parameter in part.parameters())
    memory = {
        "weights that train, and their gradients": 8 * trained,
        "AdamW's state": (2 if plan.use_8bit_adam else 8) * trained,
        "frozen weights": sum(weight.nbytes for weight in networks.parameters() if not weight.requires_grad),
        "VAE and text encoder": encoders * (2 if half else 4),
    }
    if plan.use_ema:
        memory["running average"] = 4 * trained
    activations = activations_of(networks, lambda: _example(plan.train_batch_size, data, pipe), half)
    return memory | {"activations at their peak, about": activations}


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


class _Step(nn.Module):
    """Forward and backward in one call: what is recomputed in backward needs the same stand-ins for the weights."""

    def __init__(self, networks: TrainedNetworks):
        super().__init__()
        self.networks = networks

    def forward(self, example: Example) -> None:
        self.networks(example).sum().backward()


def activations_of(networks: TrainedNetworks, make_example: Callable[[], Example], half: bool = False) -> int:
    """Peak bytes of a forward and a backward pass, beside weights and their gradients; nothing is computed.

    Args:
        make_example: a batch of the right shapes; called where tensors hold nothing.
        half: under autocast to 16 bits.
    """
    with FakeTensorMode(allow_non_fake_inputs=True):
        weights = {
            f"networks.{name}": torch.empty(
                parameter.shape, dtype=parameter.dtype, requires_grad=parameter.requires_grad
            )
            for name, parameter in networks.named_parameters()
        }
        example = make_example()
        with torch.autocast("cpu", torch.bfloat16, enabled=half), PeakMemory() as memory:
            torch.func.functional_call(_Step(networks), weights, (example,))
        gradients = sum(weight.grad.nbytes for weight in weights.values() if weight.grad is not None)
    return max(0, memory.peak - gradients)


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
