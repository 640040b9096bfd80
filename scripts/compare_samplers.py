#!/usr/bin/env python
"""A table of samplers and numbers of steps: how well a sprites model follows its boxes, and the time it takes."""

import argparse

from smcd.command import command
from smcd.config import SpritesEvaluationConfig, add_flags, load_config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_flags(parser, SpritesEvaluationConfig)
    arguments = parser.parse_intermixed_args()
    with command():
        config = load_config(SpritesEvaluationConfig, arguments)
        from smcd.sprites.samplers import compare_samplers  # loads torch: after --help

        print(compare_samplers(config))


if __name__ == "__main__":
    main()
