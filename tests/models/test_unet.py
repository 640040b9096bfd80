"""Properties of the UNet that no golden shows."""

import pytest
import torch
from diffusers import UNet3DConditionModel
from diffusers.models.attention_processor import AttnProcessor2_0

from smcd import SMCDUNet3D
from smcd.models.attention import Attention

WIDTHS = {"block_out_channels": (32, 64), "layers_per_block": 1, "attention_head_dim": 16, "cross_attention_dim": 32}
OWN = {"spatial_attention": (True, False), "object_dim": 24, "image_token_dim": 40}


def small_unet(**config) -> SMCDUNet3D:
    torch.manual_seed(0)
    return SMCDUNet3D(**{**WIDTHS, **OWN, **config}).eval()


def open_gates(unet: SMCDUNet3D) -> SMCDUNet3D:
    for name, parameter in unet.named_parameters():
        if "alpha_" in name:
            torch.nn.init.constant_(parameter, 0.5)
    torch.nn.init.normal_(unet.conv_in.weight, std=0.1)
    return unet


def inputs(clips: int = 2, frames: int = 3, objects: int = 2, seed: int = 1) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return {
        "sample": torch.randn(clips, 4, frames, 8, 12, generator=g),
        "timestep": torch.full((clips,), 400),
        "encoder_hidden_states": torch.randn(clips, 77, 32, generator=g),
        "objects": torch.randn(clips, frames, objects, 24, generator=g),
        "image_tokens": torch.randn(clips, 4, 40, generator=g),
        "image_latents": torch.randn(clips, 4, 8, 12, generator=g),
    }


@torch.no_grad()
def test_fresh_gates_are_the_base_model():
    torch.manual_seed(0)
    base = UNet3DConditionModel(
        **WIDTHS,
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
    ).eval()
    for parameter in base.parameters():  # no layer may hide behind diffusers' zero initialization
        torch.nn.init.normal_(parameter, std=0.05)
    unet = small_unet()
    unet.load_base(base.state_dict())
    x = inputs()
    expected = base(x["sample"], 400, x["encoder_hidden_states"]).sample
    error = (unet(**x).sample - expected).norm() / expected.norm()
    assert error < 1e-6


def test_load_base_names_what_does_not_fit():
    unet = small_unet()
    weights = {name: w for name, w in unet.state_dict().items() if "_gate." not in name}
    del weights["conv_out.bias"]
    weights["conv_norm_out.weight"] = torch.zeros(3)
    weights["stray"] = torch.zeros(1)
    with pytest.raises(ValueError, match=r"conv_out\.bias.*stray.*conv_norm_out\.weight.*\[3\]"):
        unet.load_base(weights)


@torch.no_grad()
def test_padding_objects_have_no_influence():
    unet = open_gates(small_unet())
    x = inputs()
    plain = unet(**x).sample
    filler = torch.full((2, 3, 3, 24), 50.0)
    padded = {**x, "objects": torch.cat([x["objects"], filler], dim=2)}
    padding = torch.tensor([[False, False, True, True, True]] * 2)
    assert torch.allclose(unet(**padded, object_padding=padding).sample, plain, atol=1e-5)
    assert not torch.allclose(unet(**padded).sample, plain, atol=1e-3)


@torch.no_grad()
def test_every_condition_matters():
    unet = open_gates(small_unet())
    x = inputs()
    plain = unet(**x).sample
    for name in ("objects", "image_tokens", "image_latents"):
        assert not torch.allclose(unet(**{**x, name: None}).sample, plain, atol=1e-4), name


@torch.no_grad()
def test_missing_image_latents_mean_zeros():
    unet = open_gates(small_unet())
    x = inputs()
    zeros = unet(**{**x, "image_latents": torch.zeros_like(x["image_latents"])}).sample
    assert torch.equal(unet(**{**x, "image_latents": None}).sample, zeros)


@torch.no_grad()
def test_single_frames_bypass_every_temporal_layer():
    unet = open_gates(small_unet())
    x = inputs(frames=1)
    plain = unet(**x, temporal=False).sample
    for name, parameter in unet.named_parameters():
        if "temp_" in name or "transformer_in" in name:
            torch.nn.init.constant_(parameter, float("nan"))
    assert torch.equal(unet(**x, temporal=False).sample, plain)


@torch.no_grad()
def test_clips_of_a_batch_are_independent():
    unet = open_gates(small_unet())
    x = inputs()
    alone = unet(**{name: value[:1] for name, value in x.items()}).sample
    assert torch.allclose(unet(**x).sample[:1], alone, atol=1e-5)


def test_gradient_checkpointing_gives_the_same_gradients_and_keeps_fewer_activations():
    unet = open_gates(small_unet(dropout=0.0)).train()

    def gradients() -> tuple[dict[str, torch.Tensor], int]:
        kept = 0

        def count(tensor):
            nonlocal kept
            kept += tensor.numel()
            return tensor

        unet.zero_grad()
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            loss = unet(**inputs()).sample.square().mean()
        loss.backward()
        return {name: p.grad.clone() for name, p in unet.named_parameters()}, kept

    plain, kept_plain = gradients()
    unet.enable_gradient_checkpointing()
    checkpointed, kept = gradients()
    for name, gradient in plain.items():
        assert torch.allclose(checkpointed[name], gradient, rtol=1e-4, atol=1e-7), name
    assert kept < kept_plain / 3


def test_dropout_works_in_training_only():
    unet = small_unet(dropout=0.5)
    x = inputs()
    with torch.no_grad():
        assert torch.equal(unet(**x).sample, unet(**x).sample)
        unet.train()
        assert not torch.equal(unet(**x).sample, unet(**x).sample)


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        ({"object_gate": False}, {}, "objects .* object_gate=False"),
        ({"image_gate": False}, {}, "image_tokens .* image_gate=False"),
        ({"image_concat": False}, {}, "image_latents .* image_concat=False"),
        ({}, {"sample": torch.zeros(2, 4, 3, 7, 12)}, "7 x 12: sides must be multiples of 2"),
        ({}, {"temporal": False}, "single frames, not for 3"),
    ],
)
def test_what_cannot_be_used_is_refused(config, changes, message):
    with pytest.raises(ValueError, match=message):
        small_unet(**config)(**{**inputs(), **changes})


@torch.no_grad()
def test_tuple_and_saved_model_give_the_same(tmp_path):
    unet = open_gates(small_unet())
    expected = unet(**inputs()).sample
    assert torch.equal(unet(**inputs(), return_dict=False)[0], expected)
    unet.save_pretrained(tmp_path)
    assert torch.equal(SMCDUNet3D.from_pretrained(tmp_path)(**inputs()).sample, expected)


def test_attention_processors_are_refused_and_backends_taken():
    unet = small_unet()
    with pytest.raises(ValueError, match=r"takes no processors: choose how .* by set_attention_backend"):
        unet.set_attn_processor(AttnProcessor2_0())
    for layer in unet.modules():
        if isinstance(layer, Attention):
            layer.set_attention_backend("_native_math")  # the UNet's own method would also set it for all other models
    unet.set_attn_processor(unet.attn_processors)
    assert {processor._attention_backend for processor in unet.attn_processors.values()} == {"_native_math"}
