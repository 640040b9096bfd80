"""Text encoders of small models: tokenizers that know the words of a world, and few narrow layers."""

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

_START, _END = "<|startoftext|>", "<|endoftext|>"
_LETTERS = [chr(code) for code in range(ord("!"), ord("~") + 1)]
_MOST_WORDS = 2000


def make_tokenizer(captions: Iterable[str], length: int) -> CLIPTokenizer:
    """CLIP's kind of tokenizer in which every word of the captions is one token; other words are spelled.

    Token 0, with which texts are padded, is "!".
    """
    spelling = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    spelling.normalizer = normalizers.Lowercase()
    spelling.pre_tokenizer = pre_tokenizers.BertPreTokenizer()  # words and single punctuation marks
    trainer = trainers.BpeTrainer(
        vocab_size=_MOST_WORDS, end_of_word_suffix="</w>", initial_alphabet=_LETTERS, show_progress=False
    )
    spelling.train_from_iterator(captions, trainer)
    content = json.loads(spelling.to_str())["model"]
    words = dict.fromkeys(["!", *_LETTERS, *(letter + "</w>" for letter in _LETTERS), *content["vocab"], _START, _END])
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in content["merges"]]
    with tempfile.TemporaryDirectory() as folder:
        vocab_file, merges_file = Path(folder, "vocab.json"), Path(folder, "merges.txt")
        vocab_file.write_text(json.dumps({word: number for number, word in enumerate(words)}))
        merges_file.write_text("\n".join(["#version: 0.2", *merges, ""]))
        return CLIPTokenizer(str(vocab_file), str(merges_file), model_max_length=length)


def make_text_encoder(tokenizer: CLIPTokenizer, width: int, layers: int, inner_width: int, heads: int) -> CLIPTextModel:
    """An untrained text encoder for the tokenizer's words and length; `inner_width` is that of its feed-forwards."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=inner_width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        hidden_act="gelu",
    )
    return CLIPTextModel(config)
