"""What is particular about the built-in sprites model: it knows few words, and colors tell its objects apart."""

import logging
import re
from collections.abc import Iterable, Sequence

import numpy as np
from transformers import CLIPTokenizer

from smcd.sprites.world import COLORS
from smcd.tracking.color import track_colors
from smcd.tracking.grounding import ground, success

logger = logging.getLogger(__name__)


def warn_of_limits(tokenizer: CLIPTokenizer, texts: Iterable[str]) -> None:
    """Log which words of the texts the model does not know."""
    if unknown := unknown_words(tokenizer, texts):
        logger.warning(
            f"the built-in sprites model does not know: {', '.join(unknown)}. It knows circles, squares, triangles and "
            "stars in eight colors (examples/README.md); for anything else give trained weights, --trained_ckpt_path"
        )


def log_overlap(frames: np.ndarray, boxes: Sequence[Sequence], phrases: Sequence[str]) -> None:
    """Log `overlap_of_colors`, where there is one."""
    ao = overlap_of_colors(frames, boxes, phrases)
    if ao is not None:
        logger.info(f"AO {ao:.2f}: how well the colors in the video overlap their boxes, from 0 to 1")


def unknown_words(tokenizer: CLIPTokenizer, texts: Iterable[str]) -> list[str]:
    """Words of the texts that are not whole tokens, so that a model which learned words alone does not know them."""
    words = dict.fromkeys(word for text in texts for word in _words(text))
    return [word for word in words if any(not token.endswith("</w>") for token in tokenizer.tokenize(word))]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


def overlap_of_colors(frames: np.ndarray, boxes: Sequence[Sequence], phrases: Sequence[str]) -> float | None:
    """AO of the objects whose phrases name a color, found by it; over the frames after the first.

    Args:
        frames: F H W 3, uint8.
        boxes: F lists of N boxes, xyxy in 0..1, None where absent.
        phrases: N names.

    Returns:
        None where no color is named, or one twice.
    """
    named = {n: [word for word in _words(phrase.lower()) if word in COLORS] for n, phrase in enumerate(phrases)}
    colors = {n: found[0] for n, found in named.items() if found}
    if not colors or len(set(colors.values())) < len(colors):
        return None
    height, width = frames.shape[1:3]
    pixels = np.array([width, height] * 2)
    wanted = np.array([[frame[n] or [np.nan] * 4 for n in colors] for frame in boxes], float)
    found = track_colors(frames, list(colors.values()), COLORS)
    return success(ground(found * pixels, wanted * pixels, height, width).overlap.ravel()).get("ao")
