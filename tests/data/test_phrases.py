"""Files of phrase embeddings: the published forms and our own."""

import json

import numpy as np
import pytest
import torch

from smcd.data.clips import Sampling, VideoClips
from smcd.data.got10k import GOT10k
from smcd.data.phrases import PhraseEmbeddings, write_phrases
from smcd.runtime.errors import InputError


def published(path, vectors, section=None):
    content = {phrase: [vector] for phrase, vector in vectors.items()}
    path.write_text(json.dumps({section: content, "a video": []} if section else content))
    return path


def test_all_three_forms(tmp_path):
    got10k = published(tmp_path / "obj_embedding.json", {"dog": [1.0, 2.0]})
    youvis = published(tmp_path / "annotations.json", {"cat": [3.0, 4.0], "dog": [0.0, 0.0]}, "category_embedding")
    own = tmp_path / "phrases.safetensors"
    write_phrases(own, ["red café", "owl"], torch.tensor([[5.0, 6.0], [7.0, 8.0]]).half(), "hash")
    embeddings = PhraseEmbeddings([got10k, youvis, own])
    found = embeddings(["owl", "", "dog", "cat", "red café"], "here")
    assert found.tolist() == [[7, 8], [0, 0], [1, 2], [3, 4], [5, 6]]
    assert found.dtype == torch.float32


def test_what_is_refused(tmp_path):
    narrow = published(tmp_path / "narrow.json", {"dog": [1.0, 2.0]})
    wide = published(tmp_path / "wide.json", {"cat": [1.0, 2.0, 3.0]})
    with pytest.raises(InputError, match="different widths"):
        PhraseEmbeddings([narrow, wide])
    with pytest.raises(InputError, match=r"here: 'fox' is not among the phrase embeddings of .*narrow.json"):
        PhraseEmbeddings([narrow])(["fox"], "here")
    with pytest.raises(InputError, match=r"none.json: is missing"):
        PhraseEmbeddings([tmp_path / "none.json"])
    uneven = published(tmp_path / "uneven.json", {"a": [1.0], "b": [1.0, 2.0]})
    with pytest.raises(InputError, match="is not a file of phrase embeddings"):
        PhraseEmbeddings([uneven])
    (tmp_path / "cut.safetensors").write_bytes(b"1234")
    with pytest.raises(InputError, match="is not a file of phrase embeddings"):
        PhraseEmbeddings([tmp_path / "cut.safetensors"])


def test_clips_bring_their_embeddings(shared_data, tmp_path):
    source = GOT10k(shared_data)
    phrases = {source.video(n).phrases[0] for n in range(len(source.names))}
    vectors = {phrase: [float(number + 1), 0.5] for number, phrase in enumerate(phrases)}
    embeddings = PhraseEmbeddings([published(tmp_path / "e.json", vectors)])
    clip = VideoClips(source, Sampling(2, 16, 16, 3), None, embeddings).clip(0, np.random.default_rng(0))
    assert clip.phrase_embeddings.tolist() == [vectors[clip.phrases[0]], [0, 0], [0, 0]]
