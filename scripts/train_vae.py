#!/usr/bin/env python
"""Train a small VAE on a dataset of videos."""

import argparse

from smcd.command import command
from smcd.config import AutoencoderConfig, add_flags, load_config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_flags(parser, AutoencoderConfig)
    arguments = parser.parse_intermixed_args()
    with command():
        config = load_config(AutoencoderConfig, arguments)
        from smcd.training.autoencoder import train_autoencoder  # loads torch: after --help

        print(f"wrote {train_autoencoder(config)}")


if __name__ == "__main__":
    main()
