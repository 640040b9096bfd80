"""Checkpoints: published and ModelScope files <-> this project's pipeline folders, strict both ways."""

from smcd.convert.names import from_published, to_published

__all__ = ["from_published", "to_published"]
