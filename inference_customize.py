#!/usr/bin/env python
"""Animate your own image: an image, boxes and a prompt become a video."""

from smcd.config import CustomizeConfig
from smcd.runtime.command import configured


def main() -> None:
    with configured(CustomizeConfig, __doc__) as config:
        from smcd.customize.animate import customize  # loads torch: after --help and the flags' own errors

        customize(config)


if __name__ == "__main__":
    main()
