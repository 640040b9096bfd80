"""Pixels <-> latents: the VAE with its scaling factor."""

from collections.abc import Sequence

import torch
from diffusers import AutoencoderKL
from einops import rearrange
from torch import Tensor


def related_noise(noise: Tensor, window: int, stride: int, generators: Sequence[torch.Generator] | None) -> Tensor:
    """Noise (B 4 F h w) in which frames after the first window repeat earlier ones, shuffled among neighbors.

    Windows that share their noise make frames that look alike (FreeNoise, Qiu et al., 2023, arXiv 2310.15169).
    """
    noise = noise.clone()
    for b, clip in enumerate(noise):
        generator = generators[b] if generators else None
        for start in range(window, clip.shape[1], stride):
            count = min(stride, clip.shape[1] - start)
            order = torch.randperm(stride, generator=generator, device=generator.device if generator else None)
            clip[:, start : start + count] = clip[:, start - window + order[:count].to(clip.device)]
    return noise


def encode_image(vae: AutoencoderKL, pixels: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """A posterior sample of the latents (B 4 h w, scaled, float32) of pixels (B 3 H W in [-1, 1])."""
    posterior = vae.encode(pixels.to(vae.dtype)).latent_dist
    return posterior.sample(generator).float() * vae.config.scaling_factor


def encode_images(
    vae: AutoencoderKL,
    images: Sequence[Tensor | None],
    shape: tuple[int, ...],
    generators: Sequence[torch.Generator] | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """Posterior samples of the latents (`shape`: B 4 h w, scaled, float32) of images, each 1 3 H W in [-1, 1].

    Zeros where there is no image; one generator for each clip.
    """
    latents = torch.zeros(shape, device=device)
    for b, pixels in enumerate(images):
        if pixels is not None:
            latents[b] = encode_image(vae, pixels.to(device), generators[b] if generators else None)[0]
    return latents


def encode_frames(vae: AutoencoderKL, frames: Tensor, at_once: int = 8) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the latents (each B 4 F h w, scaled, float32) of frames (B F H W 3, uint8).

    `at_once` frames go through the VAE at a time. A posterior sample is mean + std x noise.
    """
    pixels = rearrange(frames.to(vae.device), "b f h w c -> (b f) c h w").split(at_once)
    with torch.no_grad():
        posteriors = [vae.encode((part.float() / 127.5 - 1).to(vae.dtype)).latent_dist for part in pixels]
    mean = torch.cat([posterior.mean for posterior in posteriors])
    std = torch.cat([posterior.std for posterior in posteriors])
    scale = vae.config.scaling_factor
    mean, std = (rearrange(x.float() * scale, "(b f) c h w -> b c f h w", b=len(frames)) for x in (mean, std))
    return mean, std


def decode_video(vae: AutoencoderKL, latents: Tensor, at_once: int | None = None) -> Tensor:
    """Pixels (B 3 F H W, about [-1, 1], float32) of scaled latents (B 4 F h w).

    `at_once` frames go through the VAE at a time; None is all of them.
    """
    frames = rearrange(latents / vae.config.scaling_factor, "b c f h w -> (b f) c h w").to(vae.dtype)
    parts = frames.split(at_once or len(frames))
    pixels = torch.cat([vae.decode(part, return_dict=False)[0].float() for part in parts])
    return rearrange(pixels, "(b f) c h w -> b c f h w", b=len(latents))
