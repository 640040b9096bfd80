#!/usr/bin/env python
"""Evaluate on a dataset: first frames, boxes and prompts become videos, which are scored; see docs/evaluation.md."""

import argparse

from smcd.command import command
from smcd.config import EvaluationConfig, add_flags, load_config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_flags(parser, EvaluationConfig)
    arguments = parser.parse_intermixed_args()
    with command():
        config = load_config(EvaluationConfig, arguments)
        from smcd.evaluation import run_evaluation  # loads torch: after --help and the flags' own errors

        run_evaluation(config)


if __name__ == "__main__":
    main()
