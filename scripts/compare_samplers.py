#!/usr/bin/env python
"""A table of samplers and numbers of steps: how well a sprites model follows its boxes, and the time it takes."""

from smcd.config import SpritesConfig
from smcd.runtime.command import configured


def main() -> None:
    with configured(SpritesConfig, __doc__) as config:
        from smcd.sprites.samplers import compare_samplers  # loads torch: after --help

        print(compare_samplers(config))


if __name__ == "__main__":
    main()
