"""Models of metrics: loaded whole or not at all, from a folder or hub id."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from smcd.runtime.errors import first_line

logger = logging.getLogger(__name__)

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class MissingModel(Exception):  # noqa: N818  # it is no failure: the report leaves the column out and says why
    """A model that is not to be had; the text is the reason that the report gives."""


def load_pretrained(model_class: Any, source: str, device: str) -> Any:
    """`model_class.from_pretrained(source)`, in float32, ready for inference.

    Raises:
        MissingModel: it cannot be read, or tensors would stay random, whose scores would mean nothing.
    """
    logger.info(f"loading {source}")
    try:
        with _quiet():
            model, info = model_class.from_pretrained(source, dtype=torch.float32, output_loading_info=True)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise MissingModel(f"{source} cannot be loaded ({first_line(error)})") from None
    if lacking := sorted(info["missing_keys"]):
        raise MissingModel(
            f"{source} is no {model_class.__name__}: it lacks {len(lacking)} tensors, {lacking[0]} first"
        )
    return model.to(device).eval().requires_grad_(False)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the hub's retries, transformers' table of lacking tensors, its progress bar: the reason is one line."""
    from transformers.utils import logging as transformers_logging

    verbosity, bar = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    hub = logging.getLogger("huggingface_hub")
    level = hub.level
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    hub.setLevel(logging.ERROR)
    try:
        yield
    finally:
        hub.setLevel(level)
        transformers_logging.set_verbosity(verbosity)
        if bar:
            transformers_logging.enable_progress_bar()


def load_processor(processor_class: Any, source: str) -> Any:
    """A tokenizer or an image processor; raises MissingModel as `load_pretrained` does."""
    try:
        with _quiet():
            return processor_class.from_pretrained(source)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise MissingModel(f"{source} has no {processor_class.__name__} ({first_line(error)})") from None
