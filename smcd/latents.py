"""Pixels <-> latents: the VAE with its scaling factor."""

import torch
from diffusers import AutoencoderKL
from einops import rearrange
from torch import Tensor


def encode_image(vae: AutoencoderKL, pixels: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """A posterior sample of the latents (B 4 h w, scaled, float32) of pixels (B 3 H W in [-1, 1])."""
    posterior = vae.encode(pixels.to(vae.dtype)).latent_dist
    return posterior.sample(generator).float() * vae.config.scaling_factor


def decode_video(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """Pixels (B 3 F H W, about [-1, 1], float32) of scaled latents (B 4 F h w)."""
    frames = rearrange(latents / vae.config.scaling_factor, "b c f h w -> (b f) c h w")
    pixels = vae.decode(frames.to(vae.dtype), return_dict=False)[0].float()
    return rearrange(pixels, "(b f) c h w -> b c f h w", b=len(latents))
