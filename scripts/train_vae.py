#!/usr/bin/env python
"""Train a small VAE on a dataset of videos."""

from smcd.config import AutoencoderConfig
from smcd.runtime.command import configured


def main() -> None:
    with configured(AutoencoderConfig, __doc__) as config:
        from smcd.training.autoencoder import train_autoencoder  # loads torch: after --help

        print(f"wrote {train_autoencoder(config)}")


if __name__ == "__main__":
    main()
