"""Measure time, memory and FLOPs of sampling and training on random weights, beside diffusers' own text-to-video."""

import argparse

from smcd.command import command
from smcd.config import BenchmarkConfig, add_flags, load_config


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m smcd.benchmark", description=__doc__)
    add_flags(parser, BenchmarkConfig)
    arguments = parser.parse_intermixed_args()
    with command():
        config = load_config(BenchmarkConfig, arguments)
        from smcd.benchmark.run import run  # loads torch: after --help and the flags' own errors

        run(config)


if __name__ == "__main__":
    main()
