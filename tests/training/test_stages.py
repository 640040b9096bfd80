"""What each stage trains and drops."""

import json
import re

import pytest
import torch

from smcd import ImageEncoder, PositionNet, SMCDUNet3D
from smcd.config import DataConfig, GligenConfig, TrainConfig
from smcd.convert import from_published
from smcd.convert.names import published_names
from smcd.runtime.errors import InputError
from smcd.sprites.tiny import tiny_pipeline
from smcd.training.stages import Drops, stage_of, trainable_parameters
from tests import golden

PARTS = {"unet": "unet", "position_net": "position_net", "visual_encoder": "image_encoder"}
IMAGES = DataConfig(n_sample_frames=1)


def full_size(stage: int) -> tuple[SMCDUNet3D, PositionNet, ImageEncoder | None]:
    with torch.device("meta"):
        if stage == 1:
            return SMCDUNet3D(image_gate=False, image_concat=False), PositionNet(), None
        return SMCDUNet3D(), PositionNet(), ImageEncoder()


def published_trainable(stage: int) -> set[str]:
    """The published names, by ours."""
    content = json.loads((golden.GOLDENS / "full_size_keys.json").read_text())[f"stage{stage}"]
    shapes = golden.parts_of(content["weights"])
    meta = {part: {n: torch.empty(s, device="meta") for n, s in names.items()} for part, names in shapes.items()}
    ours = from_published(meta)
    trained = golden.parts_of({name: [] for name in content["trainable"]})
    names = set()
    for part, wanted in trained.items():
        renamed = dict(zip(published_order(part, meta[part], ours[part]), ours[part], strict=True))
        names |= {f"{PARTS[part]}.{renamed[name]}" for name in wanted}
    return names


def published_order(part: str, published: dict, ours: dict) -> list[str]:
    """Published names in the order of ours: the same storage, whatever view of it."""
    by_storage = {tensor.untyped_storage()._cdata: name for name, tensor in published.items()}
    return [by_storage[tensor.untyped_storage()._cdata] for tensor in ours.values()]


@pytest.mark.parametrize(("stage", "millions"), [(1, 212.56), (2, 662.19)])
def test_what_trains_is_what_the_published_code_trains(stage, millions):
    unet, position_net, image_encoder = full_size(stage)
    names = trainable_parameters(stage, unet, position_net, image_encoder)
    published = {name for name in published_trainable(stage) if stage == 1 or not name.startswith("position_net.")}
    assert names == published
    networks = {"unet": unet, "position_net": position_net, "image_encoder": image_encoder}
    sizes = {
        f"{part}.{name}": parameter.numel()
        for part, network in networks.items()
        if network is not None
        for name, parameter in network.named_parameters()
    }
    assert round(sum(sizes[name] for name in names) / 1e6, 2) == millions


def test_a_fresh_position_net_trains_in_stage_2_too():
    unet, position_net, image_encoder = full_size(2)
    names = trainable_parameters(2, unet, position_net, image_encoder)
    fresh = trainable_parameters(2, unet, position_net, image_encoder, new_position_net=True)
    assert fresh - names == {f"position_net.{name}" for name, _ in position_net.named_parameters()}


def test_the_base_stage_trains_everything_and_no_bypassed_layer():
    unet = tiny_pipeline(object_gate=False, image_gate=False, image_concat=False).unet
    everything = {f"unet.{name}" for name, _ in unet.named_parameters()}
    assert trainable_parameters("base", unet) == everything
    images = trainable_parameters("base", unet, temporal=False)
    latents, text = torch.randn(1, 4, 1, 4, 4), torch.randn(1, 77, 64)
    unet(latents, 3, text, temporal=False).sample.sum().backward()
    assert images == {f"unet.{name}" for name, p in unet.named_parameters() if p.grad is not None} < everything


def test_trainable_modules_are_found_by_our_names_and_by_the_published_ones():
    unet = tiny_pipeline().unet
    ours = trainable_parameters(1, unet, modules=["object_gate"])
    assert ours == {f"unet.{name}" for name, _ in unet.named_parameters() if ".object_gate." in name}
    both = {f"unet.{name}" for name, _ in unet.named_parameters() if "_gate." in name}
    assert trainable_parameters(1, unet, modules=["gate_attn"]) == both
    everything = {f"unet.{name}" for name, _ in unet.named_parameters()}
    assert trainable_parameters(2, unet, modules=["."]) == everything
    assert trainable_parameters(1, unet, modules=["."]) == {
        n for n in everything if not re.search("temp|transformer_in", n)
    }
    with pytest.raises(InputError, match="no module of the UNet has 'gaet' in its name"):
        trainable_parameters(1, unet, modules=["gaet"])


PUBLISHED = {
    "1": ["position_net", "gate_attn"],
    "2": ["gate_attn.cross", "gate_attn.v", "2.transformer_blocks", "input_blocks.0.0"],
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_lists_of_modules_mean_their_stage(name):
    data = IMAGES if name == "1" else DataConfig()
    stage = stage_of(TrainConfig(train_data=data, trainable_modules=PUBLISHED[name]))
    assert (stage.name, stage.modules) == (name, ())
    other = PUBLISHED["2" if name == "1" else "1"]
    with pytest.raises(InputError, match="is the published list of stage"):
        stage_of(TrainConfig(stage=name, train_data=data, trainable_modules=other))


def test_published_names_of_a_unet():
    names = published_names(tiny_pipeline().unet.state_dict())
    assert names["conv_in.weight"] == "input_blocks.0.0.weight"
    gate = "mid_block.attentions.0.transformer_blocks.0.image_gate.alpha_attn"
    assert names[gate] == "middle_block.1.transformer_blocks.0.gate_attn.cross_alpha_attn"


@pytest.mark.parametrize(
    ("config", "name", "paths", "drops"),
    [
        (TrainConfig(train_data=IMAGES, use_image_dataset=True), "1", (1, 0, 0), Drops(text=0.5, boxes=0.1)),
        (TrainConfig(train_data=DataConfig(name="gligen")), "1", (1, 0, 0), Drops(text=0.5, boxes=0.1)),
        (
            TrainConfig(
                train_data=DataConfig(name="gligen", dataset_names={"SBUGrounding": GligenConfig(prob_use_caption=0.8)})
            ),
            "1",
            (1, 0, 0),
            Drops(text=1 - 0.8, boxes=0.1),
        ),
        (
            TrainConfig(train_grounding="vanilla_cross_vision", cross_vision=True, cat_init=True),
            "2",
            (1, 1, 1),
            Drops(boxes=0.1),
        ),
        (TrainConfig(stage="2"), "2", (1, 1, 1), Drops(boxes=0.1)),
        (TrainConfig(cat_init=True, train_grounding="vanilla"), "2", (1, 0, 1), Drops(boxes=0.1)),
        (TrainConfig(cross_vision=True), "2", (1, 1, 0), Drops(boxes=0.1)),
        (
            TrainConfig(stage="2", use_img_free_guidance=True),
            "2",
            (1, 1, 1),
            Drops(boxes=0.1, image=0.25, image_tokens=0.1),
        ),
        (TrainConfig(stage="base"), "base", (0, 0, 0), Drops(text=0.1)),
    ],
)
def test_the_stage_of_a_config(config, name, paths, drops):
    stage = stage_of(config)
    assert (stage.name, stage.drops) == (name, drops)
    assert tuple(stage.paths.values()) == paths
    assert stage.temporal == (name != "1")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (TrainConfig(), "which stage"),
        (TrainConfig(train_grounding="vanilla"), "which stage"),
        (TrainConfig(stage="1"), "stage 1 trains on single images: n_sample_frames is 8"),
        (TrainConfig(stage="1", train_data=IMAGES, cat_init=True), "stage 1 has no image paths"),
        (TrainConfig(stage="2", train_grounding="vanilla"), "stage 2 trains the image paths"),
        (TrainConfig(stage="base", cat_init=True), "stage base has no gates"),
        (TrainConfig(stage="2", train_text_encoder=True), "the text encoder trains in stage base only"),
    ],
)
def test_settings_that_name_no_stage(config, message):
    with pytest.raises(InputError, match=message):
        stage_of(config)
