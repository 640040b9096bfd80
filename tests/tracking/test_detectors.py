"""Detectors, with small random models: they see and say what transformers' own processors do."""

import numpy as np
import PIL.Image
import pytest
import torch
from transformers import (
    BertConfig,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    Owlv2Config,
    Owlv2ForObjectDetection,
    SwinConfig,
)

from smcd.runtime.pretrained import MissingModel
from smcd.sprites.tiny import tiny_pipeline
from smcd.tracking import detectors
from smcd.tracking.detectors import Detector


@pytest.fixture(scope="module")
def owl(tmp_path_factory) -> str:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("owlv2")
    tokenizer = tiny_pipeline().tokenizer
    layers = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = layers | {"vocab_size": len(tokenizer), "max_position_embeddings": 16}
    config = Owlv2Config(
        text_config=text, vision_config=layers | {"image_size": 64, "patch_size": 16}, projection_dim=32
    )
    Owlv2ForObjectDetection(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def watched(detector: Detector) -> dict:
    """What the model is given, and its output, of the next call on."""
    seen: dict = {}
    detector.model.register_forward_pre_hook(lambda model, args, kwargs: seen.update(kwargs), with_kwargs=True)
    detector.model.register_forward_hook(lambda model, args, output: seen.update(output=output))
    return seen


def test_owlv2_sees_a_padded_square_and_boxes_are_in_parts_of_it(owl, monkeypatch):
    monkeypatch.setitem(detectors._LEAST, "owlv2", 0.0)
    detector = Detector(owl)
    frame = np.random.default_rng(0).integers(0, 256, (30, 60, 3), dtype=np.uint8)
    seen = watched(detector)
    box = detector(frame, "red circle")
    assert seen["pixel_values"].shape == (1, 3, 64, 64)
    black = torch.tensor([-mean / std for mean, std in zip(detectors._CLIP_MEAN, detectors._CLIP_STD, strict=True)])
    assert torch.allclose(seen["pixel_values"][0, :, -20:], black[:, None, None].expand(3, 20, 64), atol=1e-5)
    best = seen["output"].logits[0].amax(-1).argmax()
    x, y, w, h = seen["output"].pred_boxes[0, best].numpy() * 60
    assert box == pytest.approx(np.clip([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 0, [60, 30, 60, 30]), abs=1e-3)


def test_what_is_not_there_is_not_found(owl, monkeypatch):
    monkeypatch.setitem(detectors._LEAST, "owlv2", 1.1)
    assert Detector(owl)(np.zeros((30, 60, 3), np.uint8), "red circle") is None


def test_grounding_dino_is_the_same_as_with_its_processor(tmp_path, monkeypatch):
    from transformers import BertTokenizerFast, GroundingDinoProcessor
    from transformers.models.grounding_dino.image_processing_pil_grounding_dino import GroundingDinoImageProcessorPil

    torch.manual_seed(0)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "car", ".", "?"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    tokenizer = BertTokenizerFast(vocab=str(tmp_path / "vocab.txt"))
    small = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    config = GroundingDinoConfig(
        backbone_config=SwinConfig(embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], out_indices=[2, 3, 4]),
        text_config=BertConfig(
            vocab_size=len(words), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
        ),
        num_queries=10,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        num_feature_levels=4,
        **small,
    )
    GroundingDinoForObjectDetection(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    monkeypatch.setattr(detectors, "_SHORTEST", 64)
    monkeypatch.setitem(detectors._LEAST, "grounding-dino", 0.0)
    detector = Detector(str(tmp_path))
    frame = np.random.default_rng(0).integers(0, 256, (40, 80, 3), dtype=np.uint8)

    images = GroundingDinoImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 1333})
    processor = GroundingDinoProcessor(images, tokenizer)
    inputs = processor(images=PIL.Image.fromarray(frame), text="red car.", return_tensors="pt")
    seen = watched(detector)
    box = detector(frame, "Red car")
    assert seen["input_ids"].tolist() == inputs["input_ids"].tolist()
    assert (
        seen["pixel_values"] - inputs["pixel_values"]
    ).abs().max() < 0.03  # one of 255, normalized: the processor rounds
    [found] = processor.post_process_grounded_object_detection(seen["output"], inputs.input_ids, 0.0, 0.0, [(40, 80)])
    expected = found["boxes"][found["scores"].argmax()].numpy()
    assert box == pytest.approx(np.clip(expected, 0, [80, 40, 80, 40]), abs=1e-3)


def test_what_is_no_detector_is_said(tmp_path):
    with pytest.raises(MissingModel, match="cannot be loaded"):
        Detector(str(tmp_path))
