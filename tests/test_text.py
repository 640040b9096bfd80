"""Text embeddings: padding, end-of-text positions, truncation."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from smcd.convert.base import Base
from smcd.text import cut_texts_counted, encode_phrases, encode_text, tokenize


class Recorder(torch.nn.Module):
    """In place of the text encoder: keeps the ids, and answers with them."""

    device = torch.device("cpu")
    config = SimpleNamespace(max_position_embeddings=77)

    def forward(self, ids):
        self.ids = ids
        return type("Output", (), {"last_hidden_state": ids[..., None].float()})


@pytest.fixture
def tokenizer(shared_pipe):
    return shared_pipe.tokenizer


def test_padding_is_id_0_after_the_end_of_text(tokenizer):
    recorder = Recorder()
    _, end = encode_text(tokenizer, recorder, ["a cat", ""])
    start_id, end_id = tokenizer.bos_token_id, tokenizer.eos_token_id
    assert recorder.ids.shape == (2, 77)
    assert end.tolist() == [5, 1]
    assert recorder.ids[1].tolist() == [start_id, end_id] + [0] * 75
    assert recorder.ids[0, 5:].tolist() == [end_id] + [0] * 71


def write_true_layout(folder: Path, pad: str, pad_of_config: str) -> list[str]:
    """A tokenizer in the files of the base's hub page, of CLIP's alphabet and the words "a cat"; returns the words."""
    seen = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    alphabet = [chr(code) for code in (*seen, *range(256, 256 + 256 - len(seen)))]
    words = [*alphabet, *(letter + "</w>" for letter in alphabet), "ca", "cat</w>", "<|startoftext|>", "<|endoftext|>"]
    flags = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    special = {name: {"content": content, **flags} for name, content in special.items()}
    typed = {name: {"__type": "AddedToken", **token} for name, token in special.items()}
    settings = {"do_lower_case": True, "model_max_length": 77, "tokenizer_class": "CLIPTokenizer"}
    folder.mkdir()
    for name, content in (
        ("vocab.json", {word: number for number, word in enumerate(words)}),
        ("special_tokens_map.json", {**special, "pad_token": pad}),
        ("tokenizer_config.json", {**typed, **settings, "pad_token": pad_of_config}),
    ):
        (folder / name).write_text(json.dumps(content))
    (folder / "merges.txt").write_text("#version: 0.2\nc a\nca t</w>\n")
    return words


@pytest.mark.parametrize("pads", [("!", "<|endoftext|>"), ("!", "!"), ("<|endoftext|>", "<|endoftext|>")])
def test_an_exclamation_mark_is_a_word_whatever_the_pad_token_is(tmp_path, pads):
    words = write_true_layout(tmp_path / "tokenizer", *pads)
    read = Base(tmp_path, tmp_path).tokenizer()
    read.save_pretrained(tmp_path / "saved")
    for tokenizer in (read, type(read).from_pretrained(tmp_path / "saved")):
        recorder = Recorder()
        encode_text(tokenizer, recorder, ["A cat!"])
        named = [words[number] for number in recorder.ids[0, :6]]
        assert named == ["<|startoftext|>", "a</w>", "cat</w>", "!</w>", "<|endoftext|>", "!"]
        assert recorder.ids[0, 5:].tolist() == [0] * 72


def test_long_texts_are_cut_with_a_warning_and_still_end(tokenizer, caplog):
    recorder = Recorder()
    _, end = encode_text(tokenizer, recorder, ["cat " * 50])
    assert "only the first 75 of 150 tokens are used" in caplog.text
    assert end.tolist() == [76]
    assert recorder.ids[0, -1] == tokenizer.eos_token_id


def test_of_many_long_texts_the_first_is_told_of_and_then_their_number(tokenizer, caplog):
    with cut_texts_counted():
        for words in (80, 90, 100, 90, 5):
            tokenize(tokenizer, Recorder(), ["cat " * words])
    assert len(caplog.messages) == 2
    assert "only the first 75 of" in caplog.messages[0]
    assert caplog.messages[1].startswith("3 texts were too long")


def test_a_phrase_is_the_state_at_its_end_of_text(shared_pipe):
    states, _ = encode_text(shared_pipe.tokenizer, shared_pipe.text_encoder, ["cat"])
    phrases = encode_phrases(shared_pipe.tokenizer, shared_pipe.text_encoder, ["cat", "a dog"])
    assert phrases.shape == (2, 64)
    assert torch.allclose(phrases[0], states[0, 4], atol=1e-6)
