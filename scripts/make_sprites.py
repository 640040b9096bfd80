#!/usr/bin/env python
"""Write the sprites world in the layout of a real dataset: a stand-in for GOT-10k, YouTube-VIS or GLIGEN."""

import argparse
from pathlib import Path

from smcd.runtime.command import command
from smcd.runtime.errors import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, required=True, help="the data folder; the layout's own folder goes below it"
    )
    parser.add_argument("--layout", choices=["got10k", "youvis", "gligen"], required=True)
    parser.add_argument("--clips", type=int, default=100, help="clips, or images of each GLIGEN set (%(default)s)")
    parser.add_argument("--split", choices=["train", "val", "valid", "test"], default="train")
    parser.add_argument("--seed", type=int, default=0, help="another seed, another world (%(default)s)")
    parser.add_argument("--size", type=int, default=256, help="of the square frames, in pixels (%(default)s)")
    parser.add_argument("--frames", type=int, default=24, help="of each clip (%(default)s)")
    parser.add_argument(
        "world", nargs="*", metavar="SETTING", help="how rich the world is: built-in speed=0.4 objects=[1,2]"
    )
    arguments = parser.parse_intermixed_args()
    with command():
        for name, low in (("clips", 1), ("size", 16), ("frames", 1), ("seed", 0)):
            if getattr(arguments, name) < low:
                raise InputError(f"--{name} is {getattr(arguments, name)}; it must be at least {low}")
        if arguments.layout == "gligen" and arguments.split != "train":
            raise InputError("GLIGEN's files are training data: leave out --split")
        from tqdm import tqdm

        from smcd.sprites.layouts import make_world, write_gligen, write_got10k, write_youtube_vis

        world = make_world(arguments.world)
        indices = tqdm(range(arguments.clips), desc=f"{arguments.layout} {arguments.split}", unit="clip")
        if arguments.layout == "gligen":
            root = write_gligen(arguments.out, indices, arguments.seed, arguments.size, world)
        else:
            write = write_got10k if arguments.layout == "got10k" else write_youtube_vis
            settings = (arguments.seed, arguments.frames, arguments.size, world, arguments.split)
            root = write(arguments.out, indices, *settings)
        print(f"wrote {root}")


if __name__ == "__main__":
    main()
