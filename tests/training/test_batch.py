"""What is drawn and encoded for a batch of clips."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from smcd.data.build import build_data
from smcd.data.mixing import ClipLoader
from smcd.latents import encode_frames
from smcd.sprites.tiny import tiny_pipeline
from smcd.text import encode_phrases, encode_text
from smcd.training.batch import Encoders, draw, step_keys
from smcd.training.stages import Drops
from tests.training import runs


def test_draws_do_not_depend_on_how_a_step_is_divided():
    drops, shape = Drops(0.5, 0.3, 0.2, 0.1), (4, 2, 3, 3)
    whole = draw(step_keys(33, 7, batch_size=8), shape, drops)
    parts = [
        draw(step_keys(33, 7, 2, micro_batch, process, num_processes=2), shape, drops)
        for micro_batch in range(2)
        for process in range(2)
    ]
    for name, value in vars(whole).items():
        assert torch.equal(value, torch.cat([getattr(part, name) for part in parts])), name
    other = draw(step_keys(33, 8, batch_size=8), shape, drops)
    assert not torch.equal(whole.noise, other.noise)
    assert not torch.equal(whole.noise, whole.posterior_noise)


def test_drops_are_drawn_for_each_sample_with_their_probabilities():
    drops = Drops(0.5, 0.1, 0.25, 0.1)
    draws = draw([(33, step, index) for step in range(500) for index in range(8)], (1, 1, 1, 1), drops)
    for name, share in vars(drops).items():
        dropped = draws.drops[name].float()
        assert dropped.mean().item() == pytest.approx(share, abs=0.025)
        assert dropped.reshape(500, 8).std(1).mean() > 0  # not the same for a whole batch
    both = (draws.image & draws.image_tokens).float().mean().item()
    assert both == pytest.approx(0.025, abs=0.01)  # one does not imply the other
    assert draws.timesteps.min() < 5
    assert draws.timesteps.max() > 994
    assert draws.noise.std().item() == pytest.approx(1, abs=0.05)


def test_cached_latents_train_as_frames_do(tmp_path, monkeypatch):
    """A batch that brings latents, text and phrase embeddings needs no encoder."""
    pipe = tiny_pipeline()
    encoders = Encoders(pipe, torch.device("cpu"), torch.float32, trained_text_encoder=False)
    mixture, order = build_data(runs.config(tmp_path).train_data, 33)
    batch = next(ClipLoader(mixture, order, 2).batches())
    with torch.no_grad():
        mean, std = encode_frames(pipe.vae, batch.frames)
        text = encode_text(pipe.tokenizer, pipe.text_encoder, batch.prompts)[0]
        phrases = torch.stack([encode_phrases(pipe.tokenizer, pipe.text_encoder, names) for names in batch.phrases])
    phrases = phrases * torch.tensor([[bool(name) for name in names] for names in batch.phrases])[..., None]
    cached = replace(batch, frames=None, latent_mean=mean, latent_std=std, text=text, phrase_embeddings=phrases)
    keys, drops = [(33, 0, 0), (33, 0, 1)], Drops()
    expected = encoders(batch, keys, drops)
    monkeypatch.setattr(nn.Module, "__call__", None)  # any network would fail now
    found = encoders(cached, keys, drops)
    assert torch.equal(found.latents, expected.latents)
    assert torch.equal(found.conditions.text, expected.conditions.text)
    assert torch.allclose(found.conditions.phrase_embeddings, expected.conditions.phrase_embeddings, atol=1e-6)
