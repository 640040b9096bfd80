"""What `smcd export` runs."""

from pathlib import Path

import torch

from smcd.config import ExportConfig
from smcd.training.export import export


def export_checkpoint(config: ExportConfig) -> None:
    """A training checkpoint to a pipeline folder or to published files."""
    dtype = getattr(torch, config.dtype)
    export(Path(config.checkpoint), Path(config.out), config.published, config.ema, config.overrides, dtype)
    print(f"wrote {config.out}")
