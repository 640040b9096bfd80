#!/usr/bin/env python
"""Evaluate on a dataset: the published entry point of `smcd evaluate`."""

import sys

from smcd.cli import run

if __name__ == "__main__":
    run("evaluate", sys.argv[1:], "inference_eval.py")
