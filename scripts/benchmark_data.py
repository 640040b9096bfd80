#!/usr/bin/env python
"""Clips a second: JPEG frames (scaled decoding) against plain decoding, and cached latents against JPEG frames."""

import argparse
import tempfile
from pathlib import Path

from smcd.runtime.command import command


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder that holds got10k; otherwise made-up 1920 x 1080 frames")
    parser.add_argument("--clips", type=int, default=8, help="sequences that are read (default: %(default)s)")
    arguments = parser.parse_args()
    with command(), tempfile.TemporaryDirectory() as scratch:
        from smcd.data.benchmark import benchmark, write_full_hd

        data = arguments.data
        if data is None:
            data = Path(scratch)
            write_full_hd(data, arguments.clips)
        found = benchmark(data, Path(scratch, "latents"), arguments.clips)
        print(f"plain decoding  {found['plain']:8.1f} clips/s")
        print(f"raw frames      {found['raw']:8.1f} clips/s  {found['raw'] / found['plain']:.1f}x plain", end="")
        print(f", mean pixel difference {found['difference']:.2f}/255")
        print(f"cached latents  {found['cached']:8.1f} clips/s  {found['cached'] / found['raw']:.0f}x raw")


if __name__ == "__main__":
    main()
