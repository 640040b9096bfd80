#!/usr/bin/env python
"""Train a small VAE on a dataset of videos, for worlds that Stable Diffusion's was not made for.

Its latents have unit variance. Started again, it goes on from the checkpoint in `output_dir`.
"""

import json
import logging
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from smcd.config import DataConfig, configured
from smcd.config.options import option, section
from smcd.data.build import build_data
from smcd.data.mixing import ClipLoader
from smcd.runtime.allocation import keep_freed_memory
from smcd.runtime.errors import InputError
from smcd.runtime.files import new_file, new_folder
from smcd.runtime.precision import usable_precision

logger = logging.getLogger(__name__)

NORMALIZED_ON = 64  # batches
GROUPS = 4  # of the norms; with a group per channel an image's mean color would be lost


@dataclass
class Options:
    output_dir: str = option("outputs/vae", "folder for checkpoint, curve and, at the end, the VAE")
    block_out_channels: list[int] = option([16, 32, 64, 64], "channels of each level; every level but the first halves")
    layers_per_block: int = option(1, "residual blocks of a level")
    latent_channels: int = option(4, "channels of the latents")
    kl_weight: float = option(
        1e-4, "of the divergence from a normal distribution, against the error of the reconstruction"
    )
    learning_rate: float = option(2e-3, "the highest; it falls to a hundredth along a cosine")
    train_batch_size: int = option(4, "clips; all their frames are used")
    max_train_steps: int = option(4000, "updates")
    checkpointing_steps: int = option(500, "a checkpoint every so many steps")
    num_workers: int = option(1, "processes that make or read clips")
    mixed_precision: str = option("no", "autocast", ("no", "bf16"))
    seed: int = option(33, "of weights and data", low=0)
    train_data: DataConfig = section(DataConfig)


def main() -> None:
    with configured(Options, __doc__) as options:
        print(f"wrote {train(options)}")


def train(options: Options) -> Path:
    """Train, from the checkpoint in `output_dir` on if there is one; returns the folder of the finished VAE.

    `output_dir` gets `checkpoint.pt`, `curve.jsonl` (step, error, divergence) and at the end `vae/`.

    Raises:
        InputError: options or data that do not fit; a loss that is not a number.
    """
    out = Path(options.output_dir)
    if (out / "vae").is_dir():
        logger.info(f"{out / 'vae'}: is there already")
        return out / "vae"
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = usable_precision(options.mixed_precision, device.type)
    torch.manual_seed(options.seed)
    keep_freed_memory()
    vae = make_autoencoder(options).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=options.learning_rate, betas=(0.9, 0.99), weight_decay=1e-4)
    step = resume(out, vae, optimizer)
    mixture, order = build_data(options.train_data, options.seed)
    loader = ClipLoader(mixture, order, options.train_batch_size, options.num_workers)
    bar = tqdm(total=options.max_train_steps, initial=step, desc="vae", unit="step")
    for batch in loader.batches(start=step):
        if step == options.max_train_steps:
            break
        assert batch.frames is not None
        for group in optimizer.param_groups:
            group["lr"] = options.learning_rate * cosine(step / options.max_train_steps)
        pixels = as_pixels(batch.frames.to(device))
        torch.manual_seed(options.seed + step)  # of the posterior's noise: resuming changes nothing
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            error, divergence = losses(vae, pixels)
        loss = error + options.kl_weight * divergence
        if not loss.isfinite():
            raise InputError(f"step {step + 1}: the loss is not finite; lower learning_rate")
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        step += 1
        bar.update()
        if step % 10 == 0:
            bar.set_postfix(error=f"{error.item():.4f}", divergence=f"{divergence.item():.2f}")
            with (out / "curve.jsonl").open("a") as curve:
                curve.write(json.dumps({"step": step, "error": error.item(), "divergence": divergence.item()}) + "\n")
        if step % options.checkpointing_steps == 0 or step == options.max_train_steps:
            save(out, vae, optimizer, step)
    normalize(vae, loader, device)
    with new_folder(out / "vae") as folder:
        vae.save_pretrained(folder)
    return out / "vae"


def make_autoencoder(options: Options) -> AutoencoderKL:
    """An untrained VAE of this shape."""
    levels = len(options.block_out_channels)
    return AutoencoderKL(
        block_out_channels=tuple(options.block_out_channels),
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=options.layers_per_block,
        latent_channels=options.latent_channels,
        norm_num_groups=GROUPS,
        mid_block_add_attention=False,
        sample_size=options.train_data.width,
        scaling_factor=1.0,
    )


def as_pixels(frames: Tensor) -> Tensor:
    """Frames (B F H W 3, uint8) as pixels, (B F) 3 H W in [-1, 1]."""
    return rearrange(frames, "b f h w c -> (b f) c h w").float() / 127.5 - 1  # a view: channels lie last


def losses(vae: AutoencoderKL, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Error of the reconstruction (absolute + squared, mean), and the posterior's divergence per latent number."""
    posterior = vae.encode(pixels).latent_dist
    decoded = vae.decode(posterior.sample()).sample
    latents = posterior.mean[0].numel()
    error = functional.l1_loss(decoded.float(), pixels) + functional.mse_loss(decoded.float(), pixels)
    return error, posterior.kl().float().mean() / latents


def cosine(part: float) -> float:
    """From a hundredth over a short warm-up to 1, and back along a cosine."""
    return max(0.01, min(1.0, part / 0.02) * 0.5 * (1 + math.cos(math.pi * part)))


@torch.no_grad()
def normalize(vae: AutoencoderKL, loader: ClipLoader, device: torch.device) -> None:
    """Give every latent channel mean 0 and variance 1 over the data, by changing the convolutions around it."""
    found = []
    for number, batch in enumerate(loader.batches()):
        if number == NORMALIZED_ON:
            break
        assert batch.frames is not None
        found.append(vae.encode(as_pixels(batch.frames.to(device))).latent_dist.mean.float())
    latents = rearrange(torch.cat(found), "b c h w -> c (b h w)")
    mean, std = latents.mean(1), latents.std(1)
    channels = len(mean)
    before, after = vae.quant_conv, vae.post_quant_conv
    before.weight[:channels] /= std[:, None, None, None]
    before.bias[:channels] = (before.bias[:channels] - mean) / std
    before.bias[channels:] -= 2 * std.log()  # of the logarithm of the variance
    after.bias += after.weight[:, :, 0, 0] @ mean
    after.weight *= std[None, :, None, None]


def save(out: Path, vae: AutoencoderKL, optimizer: torch.optim.Optimizer, step: int) -> None:
    with new_file(out / "checkpoint.pt") as path:
        torch.save({"vae": vae.state_dict(), "optimizer": optimizer.state_dict(), "step": step}, path)


def resume(out: Path, vae: AutoencoderKL, optimizer: torch.optim.Optimizer) -> int:
    """The step to go on from."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "checkpoint.pt"
    if not path.is_file():
        return 0
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        vae.load_state_dict(content["vae"])
        optimizer.load_state_dict(content["optimizer"])
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"{path}: is of another configuration ({str(error).splitlines()[0]}); choose another folder"
        ) from None
    logger.info(f"going on from step {content['step']} of {path}")
    return content["step"]


if __name__ == "__main__":
    main()
