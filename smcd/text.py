"""Text embeddings as ModelScope's text-to-video model was trained with: OpenCLIP's penultimate layer, padded with 0."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

_PAD_TOKEN = 0  # after the end-of-text token, whatever the tokenizer's own padding is; no attention mask


def encode_text(
    tokenizer: Any, text_encoder: PreTrainedModel | None, texts: Sequence[str], device: torch.device | None = None
) -> tuple[Tensor, Tensor]:
    """Hidden states of texts and the position of each one's first end-of-text token.

    Args:
        tokenizer, text_encoder: transformers' CLIPTokenizer and CLIPTextModel (23 layers of OpenCLIP ViT-H-14: its
            last hidden state is the penultimate layer's output through the final LayerNorm).
        device: where the text encoder runs, if not where its weights are (offloading).

    Returns:
        B 77 C and B.

    Raises:
        ValueError: there is no text encoder.
    """
    if text_encoder is None or tokenizer is None:
        raise ValueError("without a text encoder, give prompt_embeds, negative_prompt_embeds and phrase_embeds")
    ids, end = tokenize(tokenizer, text_encoder, texts)
    states = text_encoder(ids.to(device or text_encoder.device)).last_hidden_state
    return states, end.to(states.device)


@contextmanager
def cut_texts_counted() -> Iterator[None]:
    """Inside, a warning tells of the first text that is cut, and at the end one tells how many there were."""
    cut: set[str] = set()

    def is_first(record: logging.LogRecord) -> bool:
        known = bool(cut)
        cut.add(record.getMessage())
        return not known

    logger.addFilter(is_first)
    try:
        yield
    finally:
        logger.removeFilter(is_first)
        if len(cut) > 1:
            logger.warning(f"{len(cut)} texts were too long and were cut like the first one")


def tokenize(tokenizer: Any, text_encoder: PreTrainedModel, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Token ids (B 77) and the position of each text's first end-of-text token (B); texts that are too long are cut."""
    length = min(tokenizer.model_max_length, text_encoder.config.max_position_embeddings)
    ids = torch.full((len(texts), length), _PAD_TOKEN)
    end = torch.zeros(len(texts), dtype=torch.long)
    for row, text in enumerate(texts):
        # Split, so that a "!" stays a word where the tokenizer's files name it as the pad token.
        tokens = tokenizer(text, verbose=False, split_special_tokens=True)["input_ids"]
        if len(tokens) > length:
            logger.warning(f"only the first {length - 2} of {len(tokens) - 2} tokens are used of: {text!r}")
            tokens = [*tokens[: length - 1], tokenizer.eos_token_id]
        ids[row, : len(tokens)] = torch.tensor(tokens)
        end[row] = tokens.index(tokenizer.eos_token_id)
    return ids, end


def encode_phrases(
    tokenizer: Any, text_encoder: PreTrainedModel | None, phrases: Sequence[str], device: torch.device | None = None
) -> Tensor:
    """Phrase embeddings, N C, float32: the hidden state at the end-of-text token, not projected, not normalized."""
    states, end = encode_text(tokenizer, text_encoder, phrases, device)
    return states[torch.arange(len(states), device=end.device), end].float()


def encode_phrase_lists(
    tokenizer: Any,
    text_encoder: PreTrainedModel | None,
    phrases: Sequence[Sequence[str] | Tensor],
    shape: tuple[int, ...],
    device: torch.device | None = None,
) -> Tensor:
    """Phrase embeddings of several clips, `shape` (B N C), float32; zeros where a clip has fewer than N phrases.

    A clip's phrases may also be embeddings already (N C).
    """
    embeddings = torch.zeros(shape, device=device)
    for row, of_clip in zip(embeddings, phrases, strict=True):
        if isinstance(of_clip, Tensor):
            row[: len(of_clip)] = of_clip
        elif of_clip:
            row[: len(of_clip)] = encode_phrases(tokenizer, text_encoder, of_clip, device)
    return embeddings
