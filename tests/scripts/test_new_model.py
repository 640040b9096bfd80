"""The untrained small model: its tokenizer knows the world's words, and the pipeline samples."""

import pytest
import torch

from scripts import train_vae
from scripts.new_model import Options, make_small_model
from smcd.config import DataConfig
from smcd.pipeline import SMCDPipeline
from smcd.runtime.errors import InputError
from smcd.sprites.small_model import make_tokenizer


def test_words_are_tokens_and_other_words_are_spelled():
    tokenizer = make_tokenizer(["A red star that is moving left.", "an orange star"], 12)
    words = tokenizer.tokenize("A red star, that is orange.")
    assert words == ["a</w>", "red</w>", "star</w>", ",</w>", "that</w>", "is</w>", "orange</w>", ".</w>"]
    assert len(tokenizer.tokenize("zebra")) > 1
    assert tokenizer.unk_token_id not in tokenizer("A zebra!")["input_ids"][1:-1]
    assert tokenizer.convert_tokens_to_ids("!") == 0  # what texts are padded with
    assert tokenizer.model_max_length == 12


def test_a_pipeline_folder(tmp_path):
    train_vae.make_autoencoder(train_vae.Options(block_out_channels=[16, 16])).save_pretrained(tmp_path / "vae")
    data = DataConfig(datasets=["sprites"], sprites_clips=5, width=32, height=32)
    sizes = {"block_out_channels": [32, 32], "text_width": 32, "text_layers": 1, "captions": 5, "beta_end": 0.02}
    config = Options(str(tmp_path / "out"), str(tmp_path / "vae"), train_data=data, **sizes)
    pipe = SMCDPipeline.from_pretrained(make_small_model(config))
    pipe.set_progress_bar_config(disable=True)
    assert pipe.scheduler.betas[-1].item() == pytest.approx(0.02)
    assert not any(pipe.unet.config[path] for path in ("object_gate", "image_gate", "image_concat"))
    generator = torch.Generator().manual_seed(0)
    frames = pipe("A red star.", num_frames=2, height=32, width=32, num_inference_steps=2, generator=generator).frames
    assert frames.shape == (1, 2, 32, 32, 3)
    with pytest.raises(InputError, match="exists already"):
        make_small_model(config)
    with pytest.raises(InputError, match="no VAE: train one first"):
        make_small_model(Options())


@pytest.mark.parametrize("wrong", [{"beta_schedule": "cosine"}, {"beta_start": -1.0}, {"beta_end": 2.0}])
def test_a_noise_schedule_that_cannot_be(tmp_path, wrong):
    with pytest.raises(InputError, match="beta"):
        make_small_model(Options(str(tmp_path / "out"), **wrong))
