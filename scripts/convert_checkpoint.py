#!/usr/bin/env python
"""Published weights + base -> pipeline folder, or (--to_published) a pipeline folder -> published files."""

import argparse
from pathlib import Path

from smcd.runtime.command import command
from smcd.runtime.errors import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", help="published folder (pytorch_model.bin, _1, _2), or pipeline folder; or a hub id")
    parser.add_argument("out", type=Path, help="folder to write; must not exist")
    parser.add_argument(
        "--base",
        default="ali-vilab/text-to-video-ms-1.7b",
        help="diffusers text-to-video, ModelScope or pipeline folder, or hub id (default: %(default)s)",
    )
    parser.add_argument("--tokenizer", help="folder or hub id of a tokenizer; a ModelScope base has none")
    parser.add_argument("--dtype", choices=["float32", "float16", "bfloat16"], default="float32")
    parser.add_argument("--to_published", action="store_true", help="convert back to the published names")
    arguments = parser.parse_args()
    with command():
        if arguments.to_published and arguments.dtype != "float32":
            raise InputError("--to_published writes float32, as the published files are: leave out --dtype")
        import torch

        from smcd.convert import convert, export

        if arguments.to_published:
            export(arguments.source, arguments.out)
        else:
            dtype = getattr(torch, arguments.dtype)
            convert(arguments.source, arguments.base, arguments.out, arguments.tokenizer, dtype)
        print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
