#!/usr/bin/env python
"""Animate your own image: the published entry point of `smcd animate`."""

import sys

from smcd.cli import run

if __name__ == "__main__":
    run("animate", sys.argv[1:], "inference_customize.py")
