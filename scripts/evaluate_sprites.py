#!/usr/bin/env python
"""A table of what a sprites model can do on held-out scenes, and pictures of it."""

from smcd.config import SpritesEvaluationConfig
from smcd.runtime.command import configured


def main() -> None:
    with configured(SpritesEvaluationConfig, __doc__) as config:
        from smcd.sprites.evaluation import evaluate_sprites  # loads torch: after --help

        print(evaluate_sprites(config))


if __name__ == "__main__":
    main()
