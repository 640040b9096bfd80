"""A randomly initialized pipeline, small enough for a laptop: for tests, and for a first run without weights."""

import torch
from diffusers import AutoencoderKL
from torch import nn

from smcd.models import ImageEncoder, PositionNet, SMCDUNet3D
from smcd.pipeline import SMCDPipeline
from smcd.schedulers import make_scheduler
from smcd.sprites.small_model import make_text_encoder, make_tokenizer

_TEXT_WIDTH = 64  # one head of OpenCLIP's width


def tiny_pipeline(seed: int = 0, dtype: torch.dtype = torch.float32, **unet_config: bool) -> SMCDPipeline:
    """A pipeline of the full model's structure at tiny widths, untrained: its videos are noise.

    Args:
        seed: of the weights; torch's global random state stays as it was.
        dtype: of everything but PositionNet.
        unet_config: `object_gate`, `image_gate`, `image_concat`; all True by default. Parts that the UNet does not
            need are left out.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = SMCDUNet3D(
            block_out_channels=(32, 64),
            layers_per_block=1,
            attention_head_dim=16,
            cross_attention_dim=_TEXT_WIDTH,
            spatial_attention=(True, False),
            object_dim=_TEXT_WIDTH,
            image_token_dim=_TEXT_WIDTH,
            **unet_config,
        )
        vae = AutoencoderKL(
            block_out_channels=(32,) * 4,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            latent_channels=4,
            scaling_factor=0.18215,
        )
        tokenizer = make_tokenizer([], length=77)  # letters are its only words
        text_encoder = make_text_encoder(tokenizer, _TEXT_WIDTH, layers=2, inner_width=_TEXT_WIDTH, heads=1)
        position_net = PositionNet(_TEXT_WIDTH, _TEXT_WIDTH) if unet.config.object_gate else None
        image_encoder = ImageEncoder((16, 16, 32, _TEXT_WIDTH)) if unet.config.image_gate else None
    for part in (unet, vae, text_encoder, image_encoder):
        if part is not None:
            nn.Module.to(part, dtype).eval()
    return SMCDPipeline(vae, text_encoder, tokenizer, unet, make_scheduler(), position_net, image_encoder)
