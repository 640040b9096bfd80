#!/usr/bin/env python
"""A training checkpoint -> pipeline folder, or (--published) files with the published names."""

import argparse
from pathlib import Path

from smcd.runtime.command import command
from smcd.runtime.errors import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="folder checkpoint-N, or a run's output_dir (its latest one)")
    parser.add_argument("out", type=Path, help="folder to write; must not exist")
    parser.add_argument("--published", action="store_true", help="write pytorch_model.bin, _1 and _2")
    parser.add_argument("--no-ema", action="store_true", help="the weights themselves, not their running average")
    parser.add_argument(
        "--dtype",
        choices=["float32", "float16", "bfloat16"],
        default="float32",
        help="of a pipeline folder's weights, but for PositionNet, which stays in float32",
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="where the weights to start from are now, if they moved"
    )
    arguments = parser.parse_intermixed_args()
    with command():
        if arguments.published and arguments.dtype != "float32":
            raise InputError("--published writes float32, as the published files are: leave out --dtype")
        import torch

        from smcd.training.export import export

        export(
            arguments.checkpoint,
            arguments.out,
            arguments.published,
            not arguments.no_ema,
            arguments.overrides,
            getattr(torch, arguments.dtype),
        )
        print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
