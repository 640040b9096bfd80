"""Tensor names, at full size (on the meta device) and in the small."""

import json
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smcd import ImageEncoder, PositionNet, SMCDUNet3D
from smcd.convert import from_published, to_published
from smcd.convert.networks import build_networks, image_encoder_config, position_net_config, unet_config
from smcd.runtime.errors import InputError
from tests import golden

STAGES = ["base", "stage1", "stage2"]
FULL_SIZE = {  # what each stage's networks are made with; everything else is the default
    "base": {"object_gate": False, "image_gate": False, "image_concat": False},
    "stage1": {"image_gate": False, "image_concat": False},
    "stage2": {},
}


@cache
def full_size(stage: str) -> dict[str, dict[str, torch.Tensor]]:
    shapes = json.loads((golden.GOLDENS / "full_size_keys.json").read_text())[stage]["weights"]
    return {
        part: {name: torch.empty(shape, device="meta") for name, shape in names.items()}
        for part, names in golden.parts_of(shapes).items()
    }


def shapes(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


@pytest.mark.parametrize("stage", STAGES)
def test_full_size_names_and_shapes_are_those_of_our_networks(stage):
    ours = from_published(full_size(stage))
    with torch.device("meta"):
        networks = {"unet": SMCDUNet3D(**FULL_SIZE[stage])}
        if "position_net" in ours:
            networks["position_net"] = PositionNet()
        if "visual_encoder" in ours:
            networks["visual_encoder"] = ImageEncoder()
    assert {part: shapes(tensors) for part, tensors in ours.items()} == {
        part: shapes(network.state_dict()) for part, network in networks.items()
    }


@pytest.mark.parametrize("stage", STAGES)
def test_full_size_there_and_back(stage):
    published = full_size(stage)
    back = to_published(from_published(published))
    assert {part: shapes(tensors) for part, tensors in back.items()} == {
        part: shapes(tensors) for part, tensors in published.items()
    }


@pytest.mark.parametrize("name", golden.NAMES)
def test_values_there_and_back(name):
    published = golden.load(name).published
    back = to_published(from_published(published))
    for part, tensors in published.items():
        assert tensors.keys() == back[part].keys()
        assert all(torch.equal(tensor, back[part][key]) for key, tensor in tensors.items())


@pytest.mark.parametrize("name", golden.NAMES)
def test_configs_are_read_off_the_shapes(name):
    g = golden.load(name)
    weights = from_published(g.published)
    config = unet_config(weights["unet"])
    used = set(config)
    used -= {"object_dim"} if not g.unet.config.object_gate else set()
    used -= {"image_token_dim"} if not g.unet.config.image_gate else set()
    assert {key: config[key] for key in used} == {key: _tuple(g.unet.config[key]) for key in used}
    if g.position_net is not None:
        assert position_net_config(weights["position_net"]) == {"phrase_dim": 64, "out_dim": 48}
    if g.image_encoder is not None:
        assert image_encoder_config(weights["visual_encoder"])["channels"] == tuple(g.image_encoder.config.channels)


def drawn_tensor(data, direction):
    """All parts in the names that `direction` takes, and one part and tensor of them."""
    parts = golden.load("smcd").published
    parts = parts if direction is from_published else from_published(parts)
    part = data.draw(st.sampled_from(sorted(parts)))
    return parts, part, data.draw(st.sampled_from(sorted(parts[part])))


def _tuple(value):
    return tuple(value) if isinstance(value, list) else value


@settings(max_examples=60, deadline=None)
@given(data=st.data(), direction=st.sampled_from([from_published, to_published]))
def test_any_missing_tensor_is_named(data, direction):
    parts, part, lost = drawn_tensor(data, direction)
    rest = {name: tensor for name, tensor in parts[part].items() if name != lost}
    with pytest.raises(ValueError, match="missing ") as error:
        direction({part: rest})
    assert f"missing {lost}" in str(error.value)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), direction=st.sampled_from([from_published, to_published]))
def test_any_unknown_tensor_is_named(data, direction):
    parts, part, name = drawn_tensor(data, direction)
    stray = name + data.draw(st.sampled_from([".extra", "_ema", "x"]))
    with pytest.raises(ValueError, match="unknown ") as error:
        direction({part: {**parts[part], stray: torch.zeros(1)}})
    assert f"unknown {stray}" in str(error.value)


@pytest.mark.parametrize("stray", ["input_blocks.99.0.weight", "input_blocks.1.op.x", "output_blocks.77.1.conv.weight"])
def test_strays_do_not_hide_behind_consequences(stray):
    unet = golden.load("smcd").published["unet"]
    with pytest.raises(ValueError, match="unet: 1 tensors do not fit: unknown") as error:
        from_published({"unet": {**unet, stray: torch.zeros(1)}})
    assert str(error.value).endswith(f"unknown {stray}")


@pytest.mark.parametrize("block", ["input_blocks.1", "input_blocks.2", "output_blocks.1", "middle_block.1"])
def test_a_lost_block_is_named(block):
    unet = golden.load("smcd").published["unet"]
    rest = {name: tensor for name, tensor in unet.items() if not name.startswith(f"{block}.")}
    with pytest.raises(ValueError, match=f"missing {block}".replace(".", r"\.")):
        from_published({"unet": rest})


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_any_wrong_shape_is_an_input_error(data):
    parts = golden.load("smcd").published
    part = data.draw(st.sampled_from(sorted(parts)))
    name = data.draw(st.sampled_from(sorted(parts[part])))
    shape = data.draw(st.lists(st.sampled_from([1, 3, 32]), max_size=4))
    changed = {**parts, part: {**parts[part], name: torch.zeros(shape)}}
    same = torch.Size(shape) == parts[part][name].shape
    squeezed = _is_projection(name) and torch.Size(shape) == parts[part][name].shape[:2]  # taken for a linear layer
    if not same and not squeezed:
        with pytest.raises(InputError):
            build_networks(changed)


def _is_projection(name: str) -> bool:
    return name.endswith(("proj_in.weight", "proj_out.weight"))


def test_integers_are_no_weights():
    parts = golden.load("smcd").published
    unet = {**parts["unet"], "out.2.bias": torch.zeros(4, dtype=torch.long)}
    with pytest.raises(InputError, match=r"conv_out.bias is torch.int64, not floating point"):
        build_networks({**parts, "unet": unet})


def test_parts_of_different_networks_are_refused():
    parts = golden.load("smcd").published
    narrow = PositionNet(64, 40)
    own = to_published({"position_net": narrow.state_dict()})
    with pytest.raises(InputError, match="PositionNet's tokens are 40 wide, but the UNet wants 48"):
        build_networks({**parts, **own})


def test_unknown_parts_and_foreign_networks_are_refused():
    with pytest.raises(ValueError, match="unknown part 'vae'"):
        from_published({"vae": {}})
    with pytest.raises(ValueError, match="not a whole published SMCD UNet"):
        from_published({"unet": {"model.layer.weight": torch.zeros(1)}})
    with pytest.raises(ValueError, match="not an SMCDUNet3D"):
        to_published({"unet": {"model.layer.weight": torch.zeros(1)}})
