"""Options of `scripts/train_vae.py`."""

from dataclasses import dataclass

from smcd.config.data import DataConfig
from smcd.config.options import option, section


@dataclass
class AutoencoderConfig:
    """How a small VAE is trained."""

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
