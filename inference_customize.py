#!/usr/bin/env python
"""Animate your own image: an image, boxes and a prompt become a video."""

from smcd.command import configured
from smcd.config import CustomizeConfig


def main() -> None:
    with configured(CustomizeConfig, __doc__) as config:
        from smcd.customize import customize  # loads torch: after --help and the flags' own errors

        customize(config)


if __name__ == "__main__":
    main()
