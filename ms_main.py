#!/usr/bin/env python
"""Train SMCD: stage 1 (boxes, on images), stage 2 (image paths, on videos), or a text-to-video base."""

import argparse

from smcd.config import TrainConfig, add_flags, load_config
from smcd.runtime.command import command


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_flags(parser, TrainConfig)
    parser.add_argument(
        "--dry-run", "--dry_run", action="store_true", help="print what would train, memory and steps, and stop"
    )
    arguments = parser.parse_intermixed_args()
    dry_run = vars(arguments).pop("dry_run")
    with command():
        config = load_config(TrainConfig, arguments)
        from smcd.training.loop import train  # loads torch: after --help and the flags' own errors

        train(config, dry_run)


if __name__ == "__main__":
    main()
