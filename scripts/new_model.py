#!/usr/bin/env python
"""Write an untrained small text-to-video pipeline for a dataset, around a VAE of scripts/train_vae.py."""

from smcd.config import SmallModelConfig
from smcd.runtime.command import configured


def main() -> None:
    with configured(SmallModelConfig, __doc__) as config:
        from smcd.training.small_model import make_small_model  # loads torch: after --help

        print(f"wrote {make_small_model(config)}")


if __name__ == "__main__":
    main()
