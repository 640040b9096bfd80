"""An untrained small text-to-video pipeline for a dataset: its tokenizer knows the words of the captions."""

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from smcd.config import SmallModelConfig, check_choices
from smcd.convert.base import load_model
from smcd.data.build import video_sources
from smcd.models import SMCDUNet3D
from smcd.pipeline import SMCDPipeline
from smcd.runtime.errors import InputError
from smcd.runtime.files import new_folder
from smcd.schedulers import make_scheduler

_START, _END = "<|startoftext|>", "<|endoftext|>"
_LETTERS = [chr(code) for code in range(ord("!"), ord("~") + 1)]
_MOST_WORDS = 2000


def make_small_model(config: SmallModelConfig) -> Path:
    """Write the pipeline folder that `config` describes, without gates: the base of later stages; returns it.

    Raises:
        InputError: no VAE, options that make no sense, or data that do not fit.
    """
    check_choices(config)
    if not 0 < config.beta_start <= config.beta_end < 1:
        raise InputError(f"betas are from {config.beta_start} to {config.beta_end}; they must rise, between 0 and 1")
    if config.vae is None:
        raise InputError("no VAE: train one first, scripts/train_vae.py, and name its folder, --vae")
    vae = load_model(AutoencoderKL, Path(config.vae), "")
    sources = video_sources(config.train_data)
    captions = [
        text
        for source in sources
        for index in range(min(config.captions, len(source.names)))
        for text in (source.video(index).prompt, *source.video(index).phrases)
    ]
    tokenizer = make_tokenizer(captions, config.text_length)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=config.text_width,
                intermediate_size=4 * config.text_width,
                num_hidden_layers=config.text_layers,
                num_attention_heads=max(1, config.text_width // 32),
                max_position_embeddings=config.text_length,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                hidden_act="gelu",
            )
        )
        unet = SMCDUNet3D(
            in_channels=vae.config.latent_channels,
            out_channels=vae.config.latent_channels,
            block_out_channels=tuple(config.block_out_channels),
            spatial_attention=tuple(config.spatial_attention),
            layers_per_block=config.layers_per_block,
            attention_head_dim=config.attention_head_dim,
            cross_attention_dim=config.text_width,
            object_dim=config.text_width,
            image_token_dim=64,
            object_gate=False,
            image_gate=False,
            image_concat=False,
            dropout=config.dropout,
        )
    out = Path(config.output_dir)
    with new_folder(out) as folder:
        names = ("beta_schedule", "beta_start", "beta_end", "prediction_type")
        schedule = {name: getattr(config, name) for name in names}
        SMCDPipeline(vae, text_encoder, tokenizer, unet, make_scheduler(config=schedule)).save_pretrained(folder)
    return out


def make_tokenizer(captions: Iterable[str], length: int) -> CLIPTokenizer:
    """CLIP's kind of tokenizer in which every word of the captions is one token; other words are spelled.

    Token 0, with which texts are padded, is "!".
    """
    spelling = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    spelling.normalizer = normalizers.Lowercase()
    spelling.pre_tokenizer = pre_tokenizers.BertPreTokenizer()  # words and single punctuation marks
    trainer = trainers.BpeTrainer(
        vocab_size=_MOST_WORDS, end_of_word_suffix="</w>", initial_alphabet=_LETTERS, show_progress=False
    )
    spelling.train_from_iterator(captions, trainer)
    content = json.loads(spelling.to_str())["model"]
    words = dict.fromkeys(["!", *_LETTERS, *(letter + "</w>" for letter in _LETTERS), *content["vocab"], _START, _END])
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in content["merges"]]
    with tempfile.TemporaryDirectory() as folder:
        vocab_file, merges_file = Path(folder, "vocab.json"), Path(folder, "merges.txt")
        vocab_file.write_text(json.dumps({word: number for number, word in enumerate(words)}))
        merges_file.write_text("\n".join(["#version: 0.2", *merges, ""]))
        return CLIPTokenizer(str(vocab_file), str(merges_file), model_max_length=length)
