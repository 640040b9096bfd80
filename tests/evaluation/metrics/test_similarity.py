"""CLIP, DINO, PSNR and SSIM, with small random models."""

import json

import numpy as np
import PIL.Image
import pytest
import torch
from transformers import CLIPModel, ViTModel

from smcd.evaluation.metrics.similarity import (
    MAX_PSNR,
    CLIPSimilarity,
    DINOSimilarity,
    FrameFidelity,
    cosine,
    dino_input,
    psnr,
)
from smcd.runtime.hashes import weights_hash
from smcd.runtime.pretrained import MissingModel
from tests.evaluation.metrics.tiny import write_clip, write_dino


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> CLIPSimilarity:
    return CLIPSimilarity(str(write_clip(tmp_path_factory.mktemp("clip"))))


@pytest.fixture(scope="module")
def dino(tmp_path_factory) -> DINOSimilarity:
    return DINOSimilarity(str(write_dino(tmp_path_factory.mktemp("dino"))))


@pytest.fixture
def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)


def test_clip_embeds_frames_and_texts_in_one_space(clip, frames):
    images, texts = clip.images(frames), clip.texts(["A red star.", "a dog " * 100])
    assert images.shape == (3, 16)
    assert texts.shape == (2, 16)
    np.testing.assert_allclose(np.linalg.norm(np.concatenate([images, texts]), axis=1), 1)
    assert cosine(images, images) == pytest.approx(1)
    assert cosine(images, texts[:1]) == pytest.approx(np.mean([image @ texts[0] for image in images]))
    assert abs(cosine(images, texts[:1]) - cosine(images, texts[1:])) > 1e-4


def test_clip_is_the_model_s_own_projection(clip, frames):
    """The whole chain by hand: Pillow, CLIP's mean and deviation, vision tower, projection."""
    mean, std = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
    picture = PIL.Image.fromarray(frames[0]).resize((224, 224), PIL.Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(((np.asarray(picture) / 255 - mean) / std).astype(np.float32)).permute(2, 0, 1)[None]
    with torch.no_grad():
        hidden = clip.model.vision_model(pixels).pooler_output
        embedding = clip.model.visual_projection(hidden)[0].numpy()
    np.testing.assert_allclose(clip.images(frames[:1])[0], embedding / np.linalg.norm(embedding), atol=1e-5)


def test_a_text_s_embedding_does_not_depend_on_its_neighbors(clip):
    alone, beside = clip.texts(["A star."]), clip.texts(["A star.", "A much longer text about a star."])
    np.testing.assert_allclose(alone[0], beside[0], atol=1e-6)


def test_dino_is_the_cls_token_of_the_last_layer(dino, frames):
    with torch.no_grad():
        hidden = dino.model(torch.stack([dino_input(frame) for frame in frames])).last_hidden_state[:, 0].numpy()
    np.testing.assert_allclose(dino.images(frames), hidden / np.linalg.norm(hidden, axis=1, keepdims=True), atol=1e-6)
    assert cosine(dino.images(frames[:1]), dino.images(frames[:1])) == pytest.approx(1)
    assert cosine(dino.images(frames[:1]), dino.images(frames[:1] // 4)) < 0.999


def test_dino_sees_the_middle_of_a_frame_with_imagenet_s_mean():
    frame = np.zeros((256, 512, 3), np.uint8)
    frame[:, 144:368] = (124, 116, 104)  # the middle 224 columns, of ImageNet's mean color
    pixels = dino_input(frame)
    assert pixels.shape == (3, 224, 224)
    assert pixels.abs().max() < 0.02
    assert dino_input(np.zeros((100, 60, 3), np.uint8)).shape == (3, 224, 224)


def test_models_that_are_not_there(tmp_path):
    with pytest.raises(MissingModel, match="cannot be loaded"):
        CLIPSimilarity(str(tmp_path / "none"))
    folder = write_dino(tmp_path / "dino")
    with pytest.raises(MissingModel, match="is no CLIPModel: it lacks"):  # another model's folder
        CLIPSimilarity(str(folder))
    clip = write_clip(tmp_path / "clip")
    (clip / "tokenizer.json").unlink(missing_ok=True)
    (clip / "vocab.json").unlink(missing_ok=True)
    (clip / "tokenizer_config.json").unlink()
    with pytest.raises(MissingModel, match="CLIPTokenizer"):
        CLIPSimilarity(str(clip))


def test_a_half_random_model_is_no_model(tmp_path):
    folder = write_dino(tmp_path / "dino")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(MissingModel, match="lacks 16 tensors"):
        DINOSimilarity(str(folder))


def test_the_hash_is_of_the_weights_alone(tmp_path):
    first = ViTModel.from_pretrained(write_dino(tmp_path / "a"), add_pooling_layer=False)
    again = ViTModel.from_pretrained(write_dino(tmp_path / "b"), add_pooling_layer=False)
    assert weights_hash(first.state_dict()) == weights_hash(again.state_dict())
    with torch.no_grad():
        again.layernorm.bias[0] += 1e-3
    assert weights_hash(first.state_dict()) != weights_hash(again.state_dict())
    assert len(weights_hash(CLIPModel.from_pretrained(write_clip(tmp_path / "c")).state_dict())) == 64


def test_psnr_and_ssim(frames):
    fidelity = FrameFidelity()
    assert fidelity(frames[0], frames[0]) == {"psnr": MAX_PSNR, "ssim": pytest.approx(1)}
    gray = np.full((64, 64, 3), 100, np.uint8)
    values = fidelity(gray + np.uint8(10), gray)
    assert values["psnr"] == pytest.approx(20 * np.log10(255 / 10), abs=1e-4)
    assert psnr(np.stack([gray + np.uint8(20), gray]), np.stack([gray] * 2)) == pytest.approx(
        20 * np.log10(255 / 20) + 10 * np.log10(2), abs=1e-4
    )  # of a whole video, not the mean of its frames
    luminance = (2 * 110 * 100 / 255**2 + 1e-4) / ((110**2 + 100**2) / 255**2 + 1e-4)
    assert values["ssim"] == pytest.approx(luminance, abs=1e-6)
    assert fidelity(frames[0], frames[1])["ssim"] < 0.1
