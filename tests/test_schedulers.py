"""The noise schedules and samplers."""

import json

import pytest
import torch
from diffusers import EDMEulerScheduler, EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler

from smcd.schedulers import SCHEDULERS, make_scheduler


def test_ddim_is_the_published_sampler():
    scheduler = make_scheduler()
    scheduler.set_timesteps(50)
    assert scheduler.timesteps.tolist() == list(range(981, 0, -20))
    assert scheduler.final_alpha_cumprod == scheduler.alphas_cumprod[0]
    assert scheduler.betas[0].item() == pytest.approx(0.00085)
    assert scheduler.betas[-1].item() == pytest.approx(0.012)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_recovers_the_data_from_its_exact_noise(name):
    scheduler = make_scheduler(name)
    scheduler.set_timesteps(10)
    data = torch.randn(1, 4, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    sample = noise = torch.randn(data.shape, generator=torch.Generator().manual_seed(1))
    start = scheduler.alphas_cumprod[scheduler.timesteps[0]]
    sample = start.sqrt() * data + (1 - start).sqrt() * noise
    for t in scheduler.timesteps:
        alpha = scheduler.alphas_cumprod[t]
        eps = (sample - alpha.sqrt() * data) / (1 - alpha).sqrt()
        sample = scheduler.step(eps, t, sample).prev_sample
    assert (sample - data).abs().max() < 0.2


def test_another_schedulers_config_keeps_the_published_settings():
    scheduler = make_scheduler("ddim", dict(EulerDiscreteScheduler(beta_end=0.02).config))
    assert scheduler.config.clip_sample is False
    assert scheduler.config.set_alpha_to_one is False
    assert scheduler.config.beta_end == 0.02


def test_unknown_scheduler():
    with pytest.raises(ValueError, match="unknown scheduler 'pndm'"):
        make_scheduler("pndm")


@pytest.mark.parametrize("other", [FlowMatchEulerDiscreteScheduler, EDMEulerScheduler], ids=lambda kind: kind.__name__)
def test_no_scheduler_is_made_of_one_that_adds_noise_in_another_way(other):
    saved = json.loads(other.from_config(make_scheduler().config).to_json_string())
    with pytest.raises(ValueError, match=f"a {other.__name__} adds noise in another way"):
        make_scheduler("ddim", saved)
