#!/usr/bin/env python
"""A picture of the losses of training runs, side by side."""

import argparse
from pathlib import Path

from smcd.runtime.command import command


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="output_dir of ms_main.py")
    parser.add_argument("--out", type=Path, default=Path("outputs/curves.png"), help="(default: %(default)s)")
    arguments = parser.parse_args()
    with command():
        from smcd.training.curves import draw_curves

        draw_curves(arguments.runs, arguments.out)
        print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
