"""Measure time, memory and FLOPs of sampling and training on random weights, beside diffusers' own text-to-video."""

from smcd.config import BenchmarkConfig
from smcd.runtime.command import configured


def main() -> None:
    with configured(BenchmarkConfig, __doc__, prog="python -m smcd.benchmark") as config:
        from smcd.benchmark.run import run  # loads torch: after --help and the flags' own errors

        run(config)


if __name__ == "__main__":
    main()
