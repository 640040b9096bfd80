#!/usr/bin/env python
"""Write an untrained small text-to-video pipeline for a dataset, around a VAE of scripts/train_vae.py.

It has no gates: it is the base of the later stages. Its tokenizer knows the words of the captions.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL

from smcd.config import DataConfig, check, configured
from smcd.config.options import option, section
from smcd.convert.base import load_model
from smcd.data.build import video_sources
from smcd.models import SMCDUNet3D
from smcd.pipeline import SMCDPipeline
from smcd.runtime.errors import InputError
from smcd.runtime.files import new_folder
from smcd.schedulers import make_scheduler
from smcd.sprites.small_model import make_text_encoder, make_tokenizer

IMAGE_TOKEN_WIDTH = 64


@dataclass
class Options:
    output_dir: str = option("outputs/small", "pipeline folder to write; must not exist")
    vae: str | None = option(None, "folder of its trained VAE (scripts/train_vae.py)")
    block_out_channels: list[int] = option([64, 96], "channels of the UNet's levels")
    spatial_attention: list[bool] = option([True, False], "which levels have transformers")
    layers_per_block: int = option(1, "layers of a level")
    attention_head_dim: int = option(16, "width of an attention head")
    dropout: float = option(0.0, "while training")
    text_width: int = option(96, "of the text encoder")
    text_layers: int = option(3, "of the text encoder")
    text_length: int = option(40, "tokens of a prompt; longer ones are cut")
    beta_schedule: str = option(
        "scaled_linear", "how the betas of the noise schedule rise; the published one", ("linear", "scaled_linear")
    )
    beta_start: float = option(0.00085, "first beta of the noise schedule; the published one", above=0, below=1)
    beta_end: float = option(
        0.012,
        "last beta; a small, smooth world needs a larger one (0.02), or its clips shine through the last noise",
        above=0,
        below=1,
    )
    prediction_type: str = option(
        "epsilon", "what the UNet predicts: the noise, as published, or the velocity", ("epsilon", "v_prediction")
    )
    captions: int = option(2000, "clips whose captions the tokenizer's words come from")
    seed: int = option(33, "of the weights")
    train_data: DataConfig = section(DataConfig)


def main() -> None:
    with configured(Options, __doc__) as options:
        print(f"wrote {make_small_model(options)}")


def make_small_model(options: Options) -> Path:
    """Write the pipeline folder that the options describe, and return it.

    Raises:
        InputError: no VAE, options that make no sense, or data that do not fit.
    """
    check(options)
    if options.beta_start > options.beta_end:
        raise InputError(f"betas are from {options.beta_start} to {options.beta_end}; they must rise")
    if options.vae is None:
        raise InputError("no VAE: train one first, scripts/train_vae.py, and name its folder, --vae")
    vae = load_model(AutoencoderKL, Path(options.vae), "")
    tokenizer = make_tokenizer(captions_of(options), options.text_length)
    torch.manual_seed(options.seed)
    width = options.text_width
    text_encoder = make_text_encoder(tokenizer, width, options.text_layers, 4 * width, heads=max(1, width // 32))
    unet = SMCDUNet3D(
        in_channels=vae.config.latent_channels,
        out_channels=vae.config.latent_channels,
        block_out_channels=tuple(options.block_out_channels),
        spatial_attention=tuple(options.spatial_attention),
        layers_per_block=options.layers_per_block,
        attention_head_dim=options.attention_head_dim,
        cross_attention_dim=options.text_width,
        object_dim=options.text_width,
        image_token_dim=IMAGE_TOKEN_WIDTH,
        object_gate=False,
        image_gate=False,
        image_concat=False,
        dropout=options.dropout,
    )
    names = ("beta_schedule", "beta_start", "beta_end", "prediction_type")
    scheduler = make_scheduler(config={name: getattr(options, name) for name in names})
    out = Path(options.output_dir)
    with new_folder(out) as folder:
        SMCDPipeline(vae, text_encoder, tokenizer, unet, scheduler).save_pretrained(folder)
    return out


def captions_of(options: Options) -> list[str]:
    """The prompts and phrases of the first videos."""
    return [
        text
        for source in video_sources(options.train_data)
        for index in range(min(options.captions, len(source.names)))
        for text in (source.video(index).prompt, *source.video(index).phrases)
    ]


if __name__ == "__main__":
    main()
