#!/usr/bin/env python
"""Score any method's videos against the truth, or compare reports; see docs/evaluation.md."""

import argparse
from pathlib import Path

from smcd.runtime.command import command
from smcd.runtime.errors import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pred", type=Path, metavar="FOLDER", help="videos: a folder, mp4 or gif per clip; or seed_*/")
    parser.add_argument("--truth", type=Path, metavar="FOLDER|MANIFEST", help="true videos and boxes, or a manifest")
    parser.add_argument("--compare", type=Path, nargs="+", metavar="REPORT", help="reports to put into one table")
    parser.add_argument("--out", type=Path, required=True, metavar="REPORT", help="new folder for the report")
    parser.add_argument("--name", help="of the method, in tables (default: the folder's)")
    parser.add_argument("--allow_partial", action="store_true", help="score the clips that are there")
    parser.add_argument("--tracker", default="csrt", choices=["csrt", "sam2", "none"], help="(default: %(default)s)")
    for name, source in (
        ("sam2", "facebook/sam2.1-hiera-large"),
        ("clip", "openai/clip-vit-base-patch32"),
        ("dino", "facebook/dino-vits16"),
    ):
        parser.add_argument(f"--{name}", default=source, help="folder or hub id, or none (default: %(default)s)")
    parser.add_argument("--fvd_weights", type=Path, metavar="FILE", help="I3D as TorchScript; without it no FVD")
    parser.add_argument("--device", help="of the models (default: cuda where there is one)")
    arguments = parser.parse_args()
    with command():
        if arguments.compare:
            _compare(arguments)
        elif arguments.pred and arguments.truth:
            _evaluate(arguments)
        else:
            raise InputError("give --pred and --truth, or --compare")


def _compare(arguments: argparse.Namespace) -> None:
    from smcd.evaluation.metrics.compare import compare, comparison_text, write_comparison

    comparison = compare(arguments.compare, arguments.allow_partial)
    write_comparison(arguments.out, comparison)
    print(comparison_text(comparison))


def _evaluate(arguments: argparse.Namespace) -> None:
    import torch
    from tqdm import tqdm

    from smcd.evaluation.metrics.evaluate import evaluate
    from smcd.evaluation.metrics.report import summary_text, write_report
    from smcd.evaluation.metrics.scoring import Options
    from smcd.runtime.files import check_new

    check_new(arguments.out)
    options = Options(
        tracker=arguments.tracker,
        sam2=arguments.sam2,
        clip=arguments.clip,
        dino=arguments.dino,
        fvd_weights=arguments.fvd_weights,
        device=arguments.device or ("cuda" if torch.cuda.is_available() else "cpu"),
    )
    evaluation = evaluate(
        arguments.pred,
        arguments.truth,
        options,
        arguments.allow_partial,
        arguments.name,
        progress=lambda clips, what: tqdm(clips, desc=what, unit="clip"),
    )
    write_report(arguments.out, evaluation)
    print(summary_text(evaluation))


if __name__ == "__main__":
    main()
