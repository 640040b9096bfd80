"""The small VAE: it learns, resumes, and its latents have unit variance."""

import json

import pytest
import torch
from diffusers import AutoencoderKL

from scripts import train_vae
from scripts.train_vae import Options, as_pixels, make_autoencoder, normalize, train
from smcd.config import DataConfig
from smcd.data.build import build_data
from smcd.data.mixing import ClipLoader
from smcd.runtime.errors import InputError


def tiny(out, **options):
    data = DataConfig(datasets=["sprites"], sprites_clips=40, n_sample_frames=1, width=16, height=16)
    settings = {"block_out_channels": [16, 16], "train_batch_size": 4, "num_workers": 0, "checkpointing_steps": 2}
    settings["max_train_steps"] = 4
    return Options(output_dir=str(out), train_data=data, **settings | options)


def test_it_learns(tmp_path):
    train(tiny(tmp_path, max_train_steps=80, checkpointing_steps=100))
    errors = [json.loads(line)["error"] for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    assert errors[-1] < 0.7 * errors[0]


def test_latents_have_unit_variance_and_the_same_pictures(tmp_path):
    folder = train(tiny(tmp_path, max_train_steps=6))
    vae = AutoencoderKL.from_pretrained(folder)
    assert vae.config.scaling_factor == 1
    mixture, order = build_data(tiny(tmp_path).train_data, 33)
    loader = ClipLoader(mixture, order, 10)
    pixels = as_pixels(next(loader.batches()).frames)
    with torch.no_grad():
        latents = vae.encode(pixels).latent_dist.mean
        assert latents.std((0, 2, 3)).sub(1).abs().max() < 0.15
        assert latents.mean((0, 2, 3)).abs().max() < 0.15
        plain = make_autoencoder(tiny(tmp_path))
        before = plain.encode(pixels).latent_dist
        decoded = plain.decode(before.mean).sample
        normalize(plain, loader, torch.device("cpu"))
        after = plain.encode(pixels).latent_dist
        assert (plain.decode(after.mean).sample - decoded).abs().max() < 1e-4
        ratio = (after.std / after.mean.std((0, 2, 3))[:, None, None]).mean((0, 2, 3))
        expected = (before.std / before.mean.std((0, 2, 3))[:, None, None]).mean((0, 2, 3))
        assert torch.allclose(ratio, expected, rtol=1e-3)  # noise is scaled with the latents


def test_it_goes_on_where_it_stopped(tmp_path, monkeypatch):
    whole = train(tiny(tmp_path / "whole"))
    losses, calls = train_vae.losses, []

    def stop_in_the_third_step(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return losses(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(train_vae, "losses", stop_in_the_third_step)
        with pytest.raises(KeyboardInterrupt):
            train(tiny(tmp_path / "parts"))
    with pytest.raises(InputError, match="is of another configuration"):
        train(tiny(tmp_path / "parts", block_out_channels=[16, 32]))
    parts = train(tiny(tmp_path / "parts"))
    first, second = (AutoencoderKL.from_pretrained(folder).state_dict() for folder in (whole, parts))
    assert all(torch.equal(first[name], second[name]) for name in first)
