"""Everything random about a sample, keyed by (seed, step, place in the batch).

Numbers of NumPy's generator: the same on every device, and for any number of processes and workers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from smcd.training.stages import Drops

Key = tuple[int, ...]  # seed, step, index of the sample in the whole batch of that step


@dataclass(frozen=True)
class Draws:
    """What was drawn for B samples.

    Attributes:
        timesteps: B.
        noise: B 4 F h w, float32.
        posterior_noise: B 4 F h w, float32, for the sample from the VAE's posterior.
        text, boxes, image, image_tokens: B, bool: which samples go without it (see `stages.Drops`).
    """

    timesteps: Tensor
    noise: Tensor
    posterior_noise: Tensor
    text: Tensor
    boxes: Tensor
    image: Tensor
    image_tokens: Tensor

    @property
    def drops(self) -> dict[str, Tensor]:
        """The arguments of `Conditions.drop`."""
        return {name: getattr(self, name) for name in ("text", "boxes", "image", "image_tokens")}


def step_keys(
    seed: int, step: int, batch_size: int, micro_batch: int = 0, process_index: int = 0, num_processes: int = 1
) -> list[Key]:
    """Keys of one process's samples in micro-batch number `micro_batch` of a step."""
    first = (micro_batch * num_processes + process_index) * batch_size
    return [(seed, step, index) for index in range(first, first + batch_size)]


def draw(keys: Sequence[Key], shape: Sequence[int], drops: Drops, num_timesteps: int = 1000) -> Draws:
    """Draw for the samples with these keys; `shape` is that of a sample's latents, (4, F, h, w)."""
    timesteps, dropped, noise, posterior_noise = [], [], [], []
    for key in keys:
        rng = np.random.default_rng(key)
        timesteps.append(int(rng.integers(num_timesteps)))
        dropped.append(rng.random(4) < (drops.text, drops.boxes, drops.image, drops.image_tokens))
        noise.append(rng.standard_normal(shape, dtype=np.float32))
        posterior_noise.append(rng.standard_normal(shape, dtype=np.float32))
    return Draws(
        torch.tensor(timesteps),
        torch.from_numpy(np.stack(noise)),
        torch.from_numpy(np.stack(posterior_noise)),
        *torch.from_numpy(np.stack(dropped, axis=1)),
    )
