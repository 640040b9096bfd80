"""Pretrained models that measure: loaded whole or not at all, from a folder or hub id."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from smcd.runtime.errors import first_line
from smcd.runtime.hashes import weights_hash
from smcd.runtime.hub import quiet_hub

logger = logging.getLogger(__name__)

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class MissingModel(Exception):  # noqa: N818  # it is not a failure: the report leaves the column out and says why
    """A model cannot be loaded; the text is the reason that the report gives."""


class Pretrained:
    """A network in float32, ready for inference.

    Raises MissingModel if it cannot be read, or tensors would stay random, so that scores would mean nothing.
    """

    def __init__(self, model_class: Any, source: str, device: str, **options: Any):
        logger.info(f"loading {source}")
        self.source, self.device = source, device
        try:
            with _quiet():
                model, info = model_class.from_pretrained(
                    source, dtype=torch.float32, output_loading_info=True, **options
                )
        except Exception as error:  # of a broken file, of the hub, or of the HTTP library below it
            raise MissingModel(f"{source} cannot be loaded ({first_line(error)})") from None
        if lacking := sorted(info["missing_keys"]):
            name = model_class.__name__
            raise MissingModel(f"{source} is no {name}: it lacks {len(lacking)} tensors, {lacking[0]} first")
        self.model: Any = model.to(device).eval().requires_grad_(False)

    def describe(self) -> dict[str, str]:
        """Source and hash, for the report."""
        return {"source": self.source, "sha256": weights_hash(self.model.state_dict())}


def load_processor(processor_class: Any, source: str) -> Any:
    """A tokenizer or an image processor. Raises MissingModel if it cannot be read."""
    try:
        with _quiet():
            return processor_class.from_pretrained(source)
    except Exception as error:  # of a broken file, of the hub, or of the HTTP library below it
        raise MissingModel(f"{source} has no {processor_class.__name__} ({first_line(error)})") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the hub's retries and transformers' tables and bars: the reason is given in one line."""
    from transformers.utils import logging as transformers_logging

    bar, verbosity = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with quiet_hub():
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bar:
            transformers_logging.enable_progress_bar()
