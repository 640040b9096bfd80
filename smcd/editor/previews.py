"""Pictures of a video while it is sampled."""

from pathlib import Path

import numpy as np
from torch import Tensor

from smcd.latents import decode_video
from smcd.pipeline import SMCDPipeline
from smcd.runtime.files import new_file
from smcd.runtime.media import to_uint8, write_image


def write_preview(pipe: SMCDPipeline, path: Path, before: Tensor, after: Tensor, step: int) -> None:
    """Write the clean frames that are predicted in a row, of the latents (1 4 F h w) before and after a step."""
    video = decode_video(pipe.vae, predicted_clean(pipe, before, after, step))
    frames = to_uint8((video[0].permute(1, 2, 3, 0) / 2 + 0.5).float().cpu().numpy())
    with new_file(path) as temporary:
        write_image(temporary, np.concatenate(frames, axis=1))


def predicted_clean(pipe: SMCDPipeline, before: Tensor, after: Tensor, step: int) -> Tensor:
    """The clean latents to which a step leads.

    Noisy latents are a x0 + s eps. A step of DDIM keeps x0 and eps, so that its two ends give x0. A sampler of higher
    order gives its own estimate of x0 for this step.
    """
    levels, (t, u) = pipe.scheduler.alphas_cumprod, pipe.scheduler.timesteps[step : step + 2].long().cpu()
    (a, s), (b, r) = ((levels[k].sqrt().item(), (1 - levels[k]).sqrt().item()) for k in (t, u))
    return (s * after - r * before) / (s * b - r * a)
