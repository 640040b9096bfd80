"""What `smcd convert` runs."""

from pathlib import Path

import torch

from smcd.config import ConvertConfig
from smcd.convert.folders import convert, export


def convert_weights(config: ConvertConfig) -> None:
    """Published weights and their base to a pipeline folder, or a pipeline folder to published files."""
    if config.to_published:
        export(config.source, Path(config.out))
    else:
        convert(config.source, config.base, Path(config.out), config.tokenizer, getattr(torch, config.dtype))
    print(f"wrote {config.out}")
