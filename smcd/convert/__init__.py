"""Checkpoints: published and ModelScope files <-> this project's pipeline folders, strict both ways."""

from typing import Any

from smcd.convert.names import from_published, to_published

__all__ = ["DEFAULT_BASE", "convert", "export", "from_published", "load_pipeline", "sampling_defaults", "to_published"]


def __getattr__(name: str) -> Any:  # the folder functions need every network; the names need only torch
    if name in ("DEFAULT_BASE", "convert", "export", "sampling_defaults", "load_pipeline"):
        from smcd.convert import folders

        return getattr(folders, name)
    raise AttributeError(f"module 'smcd.convert' has no attribute {name!r}")
