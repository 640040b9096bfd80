#!/usr/bin/env python
"""Evaluate on a dataset: first frames, boxes and prompts become videos, which are scored; see docs/evaluation.md."""

from smcd.config import EvaluationConfig
from smcd.runtime.command import configured


def main() -> None:
    with configured(EvaluationConfig, __doc__) as config:
        from smcd.evaluation.generate import run_evaluation  # loads torch: after --help and the flags' own errors

        run_evaluation(config)


if __name__ == "__main__":
    main()
