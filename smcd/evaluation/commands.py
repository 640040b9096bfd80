"""What `smcd score` and `smcd compare` run."""

from pathlib import Path

import torch

from smcd.config import CompareConfig, ScoreConfig
from smcd.evaluation.metrics.compare import compare, comparison_text, write_comparison
from smcd.evaluation.metrics.evaluate import evaluate
from smcd.evaluation.metrics.report import summary_text, write_report
from smcd.evaluation.metrics.scoring import Options
from smcd.runtime.files import check_new


def score(config: ScoreConfig) -> None:
    """Score any method's videos against the truth, write the report and print its summary."""
    check_new(Path(config.out))
    device = config.device or ("cuda" if torch.cuda.is_available() else "cpu")
    options = Options(config.tracker, config.sam2, config.clip, config.dino, config.fvd_weights, device)
    evaluation = evaluate(Path(config.pred), Path(config.truth), options, config.allow_partial, config.name)
    write_report(Path(config.out), evaluation)
    print(summary_text(evaluation))


def compare_reports(config: CompareConfig) -> None:
    """Put reports into one table, write it and print it."""
    paths = [Path(report) for report in config.reports]
    comparison = compare(paths, config.allow_partial)
    write_comparison(Path(config.out), comparison, paths)
    print(comparison_text(comparison))
