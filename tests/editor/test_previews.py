"""Pictures of a video while it is sampled."""

from types import SimpleNamespace

import pytest
import torch

from smcd.editor.previews import predicted_clean
from smcd.schedulers import make_scheduler
from smcd.sprites.tiny import tiny_pipeline


@pytest.mark.parametrize(("name", "steps"), [("ddim", range(9)), ("dpmsolver++", [0]), ("unipc", [0])])
def test_the_two_ends_of_a_step_give_the_predicted_clean_latents(name, steps):
    scheduler = make_scheduler(name, dict(tiny_pipeline().scheduler.config))
    generator = torch.Generator().manual_seed(0)
    for step in steps:
        scheduler.set_timesteps(10)
        t = scheduler.timesteps[step]
        clean, noise = torch.randn((2, 1, 4, 3, 8, 8), generator=generator)
        level = scheduler.alphas_cumprod[t]
        before = level.sqrt() * clean + (1 - level).sqrt() * noise
        after = scheduler.step(noise, t, before, return_dict=False)[0]
        found = predicted_clean(SimpleNamespace(scheduler=scheduler), before, after, step)
        assert torch.allclose(found, clean, atol=2e-3)
