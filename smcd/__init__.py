"""smcd: animate a still image with boxes and a prompt (SMCD, ECCV 2024, arXiv 2403.10179).

The names below are loaded when they are first used, so that `import smcd` and every `--help` stay fast.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smcd.conditions import Conditions
    from smcd.models import ImageEncoder, PositionNet, SMCDUNet3D
    from smcd.pipeline import SMCDPipeline

__version__ = "0.1.0"
__all__ = ["Conditions", "ImageEncoder", "PositionNet", "SMCDPipeline", "SMCDUNet3D"]

_HOME = {
    "Conditions": "smcd.conditions",
    "ImageEncoder": "smcd.models",
    "PositionNet": "smcd.models",
    "SMCDPipeline": "smcd.pipeline",
    "SMCDUNet3D": "smcd.models",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'smcd' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
