#!/usr/bin/env python
"""A table of what a sprites model can do on held-out scenes, and pictures of it."""

import argparse

from smcd.command import command
from smcd.config import SpritesEvaluationConfig, add_flags, load_config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_flags(parser, SpritesEvaluationConfig)
    arguments = parser.parse_intermixed_args()
    with command():
        config = load_config(SpritesEvaluationConfig, arguments)
        from smcd.sprites.evaluation import evaluate_sprites  # loads torch: after --help

        print(evaluate_sprites(config))


if __name__ == "__main__":
    main()
