#!/usr/bin/env python
"""Animate your own image: an image, boxes and a prompt become a video."""

import argparse

from smcd.command import command
from smcd.config import CustomizeConfig, add_flags, load_config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_flags(parser, CustomizeConfig)
    arguments = parser.parse_intermixed_args()
    with command():
        config = load_config(CustomizeConfig, arguments)
        from smcd.customize import customize  # loads torch: after --help and the flags' own errors

        customize(config)


if __name__ == "__main__":
    main()
