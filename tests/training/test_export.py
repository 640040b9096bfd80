"""What becomes of a checkpoint."""

import pytest
import torch
from safetensors.torch import load_file

from smcd import SMCDPipeline
from smcd.runtime.errors import InputError
from smcd.sprites.tiny import tiny_pipeline
from smcd.training.export import export
from smcd.training.trained_networks import load_checkpoint
from tests.training import runs


def test_the_running_average_is_exported(tmp_path):
    out = runs.run(runs.config(tmp_path / "out", max_train_steps=3, use_ema=True, ema_decay=0.5))
    averaged = load_file(out / "checkpoint-3" / "ema.safetensors")
    trained = load_file(out / "checkpoint-3" / "trained.safetensors")
    name = "unet.conv_in.weight"
    assert not torch.equal(averaged[name], trained[name])
    assert torch.equal(SMCDPipeline.from_pretrained(out / "pipeline").unet.conv_in.weight, averaged[name])
    assert torch.equal(load_checkpoint(out / "checkpoint-3", ema=False).unet.conv_in.weight, trained[name])


def test_export_as_published_files(tmp_path, caplog):
    out = runs.run(runs.config(tmp_path / "out", max_train_steps=1))
    export(out, tmp_path / "published", published=True)
    assert "published files have no place for the size of 32 x 32" in caplog.text
    made = {path.name for path in (tmp_path / "published").iterdir()}
    assert made == {"pytorch_model.bin", "pytorch_model_1.bin", "pytorch_model_2.bin"}
    unet = torch.load(tmp_path / "published" / "pytorch_model.bin", weights_only=True)
    trained = load_file(out / "checkpoint-1" / "trained.safetensors")
    assert torch.equal(unet["input_blocks.0.0.weight"], trained["unet.conv_in.weight"])
    with pytest.raises(InputError, match="no checkpoint is there"):
        export(tmp_path / "published", tmp_path / "again")


def test_published_files_do_not_say_which_frames_get_the_image(tmp_path, caplog):
    out = runs.run(runs.config(tmp_path / "out", max_train_steps=1, only_cat_first_frame=True))
    export(out, tmp_path / "published", published=True)
    assert "published files do not say that the image goes to the first frame alone" in caplog.text


def test_export_in_half_precision_spares_position_net(tmp_path):
    tiny_pipeline().save_pretrained(tmp_path / "start")
    out = runs.run(runs.config(tmp_path / "out", max_train_steps=1, tune_from_ckpt_path=str(tmp_path / "start")))
    export(out, tmp_path / "half", dtype=torch.float16)
    assert not any(str(tmp_path) in path.read_text() for path in (tmp_path / "half").rglob("*.json"))
    for part in ("unet", "position_net", "image_encoder", "vae"):
        weights = load_file(tmp_path / "half" / part / "diffusion_pytorch_model.safetensors")
        assert {tensor.dtype for tensor in weights.values()} == {
            torch.float32 if part == "position_net" else torch.float16
        }
