#!/usr/bin/env python
"""Prepare a dataset: phrase embeddings, held-out videos, missing captions, and (--latents) cached VAE latents."""

import argparse

from smcd.config import PrepareConfig, add_flags, load_config
from smcd.runtime.command import command


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", choices=["got10k", "youvis", "gligen", "videos", "sprites"])
    add_flags(parser, PrepareConfig)
    as_elsewhere = {"dest": "dry_run", "action": "store_true", "default": argparse.SUPPRESS, "help": argparse.SUPPRESS}
    parser.add_argument("--dry-run", **as_elsewhere)
    arguments = parser.parse_intermixed_args()
    with command():
        config = load_config(PrepareConfig, arguments)
        from smcd.data.prepare import prepare  # loads torch: after --help and the flags' own errors

        print("\n".join(prepare(config)))


if __name__ == "__main__":
    main()
