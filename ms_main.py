#!/usr/bin/env python
"""Train SMCD: the published entry point of `smcd train`."""

import sys

from smcd.cli import run

if __name__ == "__main__":
    run("train", sys.argv[1:], "ms_main.py")
