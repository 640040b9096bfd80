#!/usr/bin/env python
"""Write an untrained small text-to-video pipeline for a dataset, around a VAE of scripts/train_vae.py."""

import argparse

from smcd.command import command
from smcd.config import SmallModelConfig, add_flags, load_config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_flags(parser, SmallModelConfig)
    arguments = parser.parse_intermixed_args()
    with command():
        config = load_config(SmallModelConfig, arguments)
        from smcd.training.small_model import make_small_model  # loads torch: after --help

        print(f"wrote {make_small_model(config)}")


if __name__ == "__main__":
    main()
