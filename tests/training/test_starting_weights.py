"""What training can start from."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from smcd import SMCDPipeline, SMCDUNet3D
from smcd.config import DataConfig, TrainConfig, check
from smcd.runtime.errors import InputError
from smcd.sprites.tiny import tiny_pipeline
from smcd.training import checkpoint
from smcd.training.loop import resolved
from smcd.training.stages import stage_of
from smcd.training.starting_weights import _new_image_encoder
from smcd.training.trained_networks import starting_pipeline
from tests.conftest import open_gates
from tests.convert.published import write_diffusers_base, write_modelscope_base, write_published
from tests.training import runs

IMAGES = DataConfig(n_sample_frames=1, **runs.SPRITES)


def stage_1(out: Path, **changes):
    return runs.config(
        out,
        stage="1",
        use_img_free_guidance=False,
        max_train_steps=1,
        train_data=IMAGES,
        eval_data=IMAGES,
        **changes,
    )


@pytest.fixture
def base(tmp_path) -> SMCDPipeline:
    """A text-to-video base, as a diffusers folder in `base` and as a ModelScope folder in `modelscope`."""
    pipe = tiny_pipeline(3, object_gate=False, image_gate=False, image_concat=False)
    folder = write_diffusers_base(tmp_path / "base", pipe)
    pipe.unet.save_pretrained(folder / "unet")
    sizes = {name: getattr(pipe.unet.config, name) for name in ("block_out_channels", "layers_per_block")}
    sizes |= {"cross_attention_dim": 64, "attention_head_dim": 16}
    kinds = {"down_block_types": ["CrossAttnDownBlock3D", "DownBlock3D"]}
    kinds["up_block_types"] = ["UpBlock3D", "CrossAttnUpBlock3D"]
    content = {"_class_name": "UNet3DConditionModel", **sizes, **kinds}
    (folder / "unet" / "config.json").write_text(json.dumps(content))
    write_modelscope_base(tmp_path / "modelscope", pipe)
    return pipe


@pytest.mark.parametrize(
    "paths", [{"pretrained_model_path": "base"}, {"root_path": "modelscope", "pretrained_model_path": "base"}]
)
def test_stage_1_starts_from_a_base(base, tmp_path, paths):
    paths = {name: str(tmp_path / folder) for name, folder in paths.items()}
    out = runs.run(stage_1(tmp_path / "out", learning_rate=1e-12, **paths))
    unet = SMCDPipeline.from_pretrained(out / "pipeline").unet
    for name, tensor in base.unet.state_dict().items():
        assert torch.equal(unet.state_dict()[name], tensor), name


def test_fresh_gates_begin_as_told_and_trained_ones_stay(tmp_path):
    open_gates(tiny_pipeline(image_gate=False, image_concat=False)).save_pretrained(tmp_path / "stage-1")
    config = runs.config(tmp_path / "out", stage="2", tune_from_ckpt_path=str(tmp_path / "stage-1"), gate_init=0.5)
    unet = starting_pipeline(config, stage_of(config))[0].unet
    alphas = {name: parameter.item() for name, parameter in unet.named_parameters() if ".alpha_" in name}
    assert {value for name, value in alphas.items() if ".image_gate." in name} == {0.5}
    before = SMCDPipeline.from_pretrained(tmp_path / "stage-1").unet.state_dict()
    assert all(value == before[name].item() for name, value in alphas.items() if ".object_gate." in name)


def test_the_tiny_model_trains_on_real_data_if_it_is_named(tmp_path):
    config = runs.config(tmp_path / "out", train_data=DataConfig(path=str(tmp_path)), pretrained_model_path="tiny")
    check(config)
    unet, expected = (starting_pipeline(some, stage_of(some))[0].unet for some in (config, runs.config(tmp_path)))
    assert torch.equal(unet.conv_out.weight, expected.conv_out.weight)


@pytest.mark.parametrize(("given", "own"), [(None, 3.0), (2.0, 2.0)])
def test_the_guidance_of_the_sample_videos_becomes_the_pipelines_own(tmp_path, given, own):
    """Where none is given, that of the pipeline it starts from stays."""
    pipe = tiny_pipeline()
    pipe.register_to_config(guidance_scale=3.0)
    pipe.save_pretrained(tmp_path / "start")
    config = runs.config(tmp_path / "out", stage="2", tune_from_ckpt_path=str(tmp_path / "start"))
    assert starting_pipeline(config, stage_of(config), given)[0].config.guidance_scale == own


def test_another_base_unet(base, tmp_path):
    other = tiny_pipeline(4, object_gate=False, image_gate=False, image_concat=False).unet
    torch.save(other.state_dict(), tmp_path / "other.bin")
    paths = {"pretrained_model_path": str(tmp_path / "base"), "pretrained_weight_path": str(tmp_path / "other.bin")}
    out = runs.run(stage_1(tmp_path / "out", **paths))
    unet = SMCDPipeline.from_pretrained(out / "pipeline").unet
    assert torch.equal(unet.conv_out.weight, other.conv_out.weight)


def test_stage_2_starts_from_a_published_folder(tmp_path):
    pipe = open_gates(tiny_pipeline(image_gate=False, image_concat=False))
    published = write_published(tmp_path / "published", pipe)
    write_diffusers_base(tmp_path / "base", pipe)
    paths = {"tune_from_ckpt_path": str(published), "pretrained_model_path": str(tmp_path / "base")}
    settings = runs.config(tmp_path / "out", max_train_steps=1, **paths)
    out = runs.run(settings)
    made = SMCDPipeline.from_pretrained(out / "pipeline")
    assert torch.equal(made.position_net.null_phrase, pipe.position_net.null_phrase)
    assert "position_net.null_phrase" not in load_file(out / "checkpoint-1" / "trained.safetensors")

    (published / "pytorch_model_1.bin").unlink()
    with pytest.raises(InputError, match="no position_net"):
        runs.run(replace(settings, output_dir=str(tmp_path / "missing")))
    fresh = runs.run(replace(settings, output_dir=str(tmp_path / "fresh"), new_position_net=True))
    assert "position_net.null_phrase" in load_file(fresh / "checkpoint-1" / "trained.safetensors")


def test_stage_2_without_stage_1_is_refused(base, tmp_path):
    with pytest.raises(InputError, match="give the result of stage 1, --tune_from_ckpt_path"):
        runs.run(runs.config(tmp_path / "out", pretrained_model_path=str(tmp_path / "base")))


def test_weights_with_more_paths_than_the_stage_are_refused(tmp_path):
    tiny_pipeline().save_pretrained(tmp_path / "weights")
    with pytest.raises(InputError, match="the weights have an image gate, which stage 1 does not have"):
        runs.run(stage_1(tmp_path / "out", tune_from_ckpt_path=str(tmp_path / "weights")))


@pytest.mark.parametrize(
    ("flags", "refused"),
    [
        ({"cross_vision": True}, "a zero conv, which stage 2 with --cross_vision alone does not have"),
        ({"cat_init": True}, "an image gate, which stage 2 with --cat_init alone does not have"),
    ],
)
def test_an_ablation_starts_from_the_whole_model_without_its_image_paths(tmp_path, flags, refused):
    pipe = open_gates(tiny_pipeline())
    torch.nn.init.normal_(pipe.unet.conv_in.weight)
    pipe.save_pretrained(tmp_path / "weights")
    config = runs.config(tmp_path / "out", stage="2", tune_from_ckpt_path=str(tmp_path / "weights"), **flags)
    with pytest.raises(InputError, match=f"{refused}; --new_image_paths"):
        starting_pipeline(config, stage_of(config))
    started = starting_pipeline(replace(config, new_image_paths=True), stage_of(config))[0]
    image_gate = flags.get("cross_vision", False)
    assert (started.image_encoder is not None) == started.unet.config.image_gate == image_gate
    if image_gate:  # fresh, not the weights' own
        assert not torch.equal(started.image_encoder.conv_in.weight, pipe.image_encoder.conv_in.weight)
    tensors, before = started.unet.state_dict(), pipe.unet.state_dict()
    fresh = {name for name in tensors if ".image_gate." in name}
    kept = before.keys() & tensors.keys() - fresh - {"conv_in.weight"}
    assert all(torch.equal(tensors[name], before[name]) for name in kept)
    assert all(tensors[name] == 0 for name in fresh if ".alpha_" in name)
    assert (tensors["conv_in.weight"][:, 4:] == 0).all()  # no such channels, or fresh ones
    assert torch.equal(tensors["conv_in.weight"][:, :4], before["conv_in.weight"][:, :4])


@pytest.mark.parametrize("levels", [2, 3, 4])
def test_a_fresh_image_encoder_ends_at_the_size_at_which_the_unet_ends(levels):
    widths = {"cross_attention_dim": 32, "object_dim": 32, "image_token_dim": 64, "attention_head_dim": 16}
    shape = {"block_out_channels": (32,) * levels, "spatial_attention": (False,) * levels, "layers_per_block": 1}
    encoder = _new_image_encoder(SMCDUNet3D(**shape, **widths))
    assert encoder.config.channels == {2: (16, 64), 3: (16, 32, 64), 4: (16, 32, 64, 64)}[levels]
    side = 4 * 2 ** (levels - 1)  # of latents: 32 for the full model
    assert encoder(torch.randn(2, 4, side, side)).shape == (2, 16, 64)


def test_stage_1_leaves_image_paths_out_where_told(tmp_path):
    tiny_pipeline().save_pretrained(tmp_path / "weights")
    config = stage_1(tmp_path / "out", tune_from_ckpt_path=str(tmp_path / "weights"), new_image_paths=True)
    made = SMCDPipeline.from_pretrained(runs.run(config) / "pipeline")
    assert not made.unet.config.image_gate
    assert not made.unet.config.image_concat
    assert made.image_encoder is None


def test_only_the_first_frame_is_concatenated_to_itself(tmp_path):
    out = runs.run(runs.config(tmp_path / "out", max_train_steps=1, only_cat_first_frame=True))
    assert SMCDPipeline.from_pretrained(out / "pipeline").unet.config.image_concat_first_only


def test_names_of_models_are_not_looked_for_in_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path, tmp_path / "sprites"):
        checkpoint.write(folder, checkpoint.Content(1, {}))
    for name in ("sprites", "someone/model"):
        assert resolved(TrainConfig(tune_from_ckpt_path=name)).tune_from_ckpt_path == name
    assert resolved(TrainConfig(tune_from_ckpt_path=".")).tune_from_ckpt_path == str(tmp_path / "checkpoint-1")
