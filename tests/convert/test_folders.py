"""Published and base folders become pipelines, and back; nothing is written when something does not fit."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from smcd import SMCDPipeline
from smcd.convert import convert, export, load_pipeline, sampling_defaults
from smcd.convert.weight_files import load_tensors
from smcd.runtime.errors import InputError
from smcd.schedulers import make_scheduler
from tests.convert.published import write_diffusers_base, write_modelscope_base, write_published
from tests.test_pipeline import run


@pytest.fixture
def folders(pipe, tmp_path) -> dict[str, str]:
    published = write_published(tmp_path / "published", pipe)
    base = write_diffusers_base(tmp_path / "base", pipe)
    return {"published": str(published), "base": str(base)}


def test_what_published_files_have_no_place_for_comes_with_the_base(pipe, tmp_path, caplog):
    pipe.scheduler = make_scheduler(config={"beta_schedule": "linear", "beta_end": 0.02})
    pipe.register_to_config(frame_height=32, frame_width=48, guidance_scale=2.5)
    pipe.save_pretrained(tmp_path / "own")
    published, own = str(tmp_path / "published"), str(tmp_path / "own")
    export(own, tmp_path / "published")
    assert "no place for the noise schedule, the size of 32 x 48, the guidance scale 2.5" in caplog.text
    assert sampling_defaults(published) == {"height": 256, "width": 256, "guidance_scale": 7.5}
    assert sampling_defaults(published, own) == {"height": 32, "width": 48, "guidance_scale": 2.5}
    convert(published, own, tmp_path / "converted")
    for back in (load_pipeline(published, own), SMCDPipeline.from_pretrained(tmp_path / "converted")):
        assert torch.equal(back.scheduler.alphas_cumprod, pipe.scheduler.alphas_cumprod)
        assert (back.config.frame_height, back.config.frame_width, back.config.guidance_scale) == (32, 48, 2.5)


def test_a_broken_noise_schedule_of_the_base_is_named(pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "own")
    export(str(tmp_path / "own"), tmp_path / "published")
    (tmp_path / "own" / "scheduler" / "scheduler_config.json").write_text("{")
    with pytest.raises(InputError, match=r"scheduler_config\.json: no noise schedule"):
        load_pipeline(str(tmp_path / "published"), str(tmp_path / "own"))


def quiet(pipe: SMCDPipeline) -> SMCDPipeline:
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_published_weights_load_directly(pipe, folders):
    loaded = quiet(load_pipeline(folders["published"], base=folders["base"]))
    assert torch.equal(run(loaded), run(pipe))
    assert loaded.unet.config.attention_head_dim == 16


def test_published_weights_below_a_downloaded_folder_are_found(folders, tmp_path):
    (tmp_path / "hub").mkdir()
    Path(folders["published"]).rename(tmp_path / "hub" / "checkpoint")
    assert load_pipeline(str(tmp_path / "hub"), base=folders["base"]).image_encoder is not None


def test_convert_and_export_are_inverse(pipe, folders, tmp_path):
    convert(folders["published"], folders["base"], tmp_path / "pipeline")
    assert torch.equal(run(quiet(SMCDPipeline.from_pretrained(tmp_path / "pipeline"))), run(pipe))
    with pytest.raises(InputError, match="leave out --pretrained_weight_path"):
        load_pipeline(str(tmp_path / "pipeline"), base_unet="unet.pth")
    export(str(tmp_path / "pipeline"), tmp_path / "back")
    for file in sorted(Path(folders["published"]).iterdir()):
        before, after = torch.load(file), torch.load(tmp_path / "back" / file.name)
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)


def test_half_precision_spares_position_net(folders, tmp_path):
    convert(folders["published"], folders["base"], tmp_path / "pipeline", dtype=torch.float16)
    loaded = SMCDPipeline.from_pretrained(tmp_path / "pipeline", dtype=torch.float16)
    direct = load_pipeline(folders["published"], folders["base"], dtype=torch.float16)
    for pipe in (loaded, direct):
        assert {pipe.unet.dtype, pipe.vae.dtype, pipe.text_encoder.dtype} == {torch.float16}
        assert pipe.position_net.dtype == torch.float32


def test_modelscope_base(pipe, folders, tmp_path):
    base = write_modelscope_base(tmp_path / "modelscope", pipe)
    with pytest.raises(InputError, match="has no tokenizer: name a folder"):
        convert(folders["published"], str(base), tmp_path / "pipeline")
    convert(folders["published"], str(base), tmp_path / "pipeline", tokenizer=folders["base"])
    loaded = quiet(SMCDPipeline.from_pretrained(tmp_path / "pipeline"))
    assert torch.allclose(run(loaded), run(pipe), atol=1e-4)


@pytest.mark.parametrize(
    ("file", "name", "value", "message"),
    [
        (
            "VQGAN_autoencoder.pth",
            "first_stage_model.decoder.strange.weight",
            torch.ones(3),
            "unknown tensors: decoder.st",
        ),
        ("VQGAN_autoencoder.pth", "first_stage_model.post_quant_conv.weight", None, "missing post_quant_conv.weight"),
        ("VQGAN_autoencoder.pth", "first_stage_model.quant_conv.bias", None, "missing quant_conv.bias"),
        ("open_clip_pytorch_model.bin", "ln_final.strange", torch.ones(3), "unknown tensors: ln_final.strange"),
        ("open_clip_pytorch_model.bin", "strange", torch.ones(3), "unknown tensors strange"),
        ("open_clip_pytorch_model.bin", "token_embedding.weight", None, "missing token_embedding.weight"),
        ("open_clip_pytorch_model.bin", "token_embedding.weight", torch.ones(3), "impossible shapes"),
    ],
)
def test_modelscope_files_are_read_strictly(pipe, folders, tmp_path, file, name, value, message):
    base = write_modelscope_base(tmp_path / "modelscope", pipe)
    content = torch.load(base / file)
    tensors = content.get("state_dict", content)
    tensors.pop(name) if value is None else tensors.update({name: value})
    torch.save(content, base / file)
    with pytest.raises(InputError, match=message):
        convert(folders["published"], str(base), tmp_path / "new" / "pipeline", tokenizer=folders["base"])
    assert not (tmp_path / "new").exists()


def test_another_base_unet_fills_what_the_checkpoint_lacks(pipe, folders, tmp_path):
    file = Path(folders["published"]) / "pytorch_model.bin"
    tensors = torch.load(file)
    torch.save(tensors, tmp_path / "all.pth")
    torch.save({name: t for name, t in tensors.items() if "gate_attn" in name or "input_blocks.0" in name}, file)
    with pytest.raises(InputError, match=r"not a published SMCD UNet|missing"):
        load_pipeline(folders["published"], folders["base"])
    loaded = quiet(load_pipeline(folders["published"], folders["base"], base_unet=str(tmp_path / "all.pth")))
    assert torch.equal(run(loaded), run(pipe))


def change(folders: dict[str, str], file: str, **changes) -> None:
    path = Path(folders["published"]) / file
    tensors = torch.load(path)
    for name, value in changes.items():
        tensors.pop(name) if value is None else tensors.update({name: value})
    torch.save(tensors, path)


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("pytorch_model.bin", {"out.2.bias": None}, "missing out.2.bias"),
        ("pytorch_model.bin", {"stray": torch.zeros(2)}, "unknown stray"),
        ("pytorch_model.bin", {"out.2.bias": torch.zeros(9)}, r"conv_out.bias is \(9,\) instead of \(4,\)"),
        ("pytorch_model_1.bin", {"linears.0.bias": torch.zeros(9)}, r"linears.0.bias is \(9,\)"),
        ("pytorch_model_2.bin", {"conv_in.bias": None}, "missing conv_in.bias"),
        ("pytorch_model.bin", {"stray": "text"}, "not named tensors: stray"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_written(folders, tmp_path, file, changes, message):
    change(folders, file, **changes)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match=message):
        convert(folders["published"], folders["base"], tmp_path / "pipeline")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(("file", "gate"), [("pytorch_model_1.bin", "object"), ("pytorch_model_2.bin", "image")])
def test_a_missing_file_is_an_error(folders, tmp_path, file, gate):
    (Path(folders["published"]) / file).unlink()
    with pytest.raises(InputError, match=f"has an {gate} gate, but the checkpoint has no .* .{file}"):
        convert(folders["published"], folders["base"], tmp_path / "pipeline")


class Harmful:
    def __reduce__(self):
        return (print, ("this code ran",))


def test_a_file_that_could_run_code_is_refused(folders, tmp_path, capsys):
    torch.save({"state_dict": Harmful()}, Path(folders["published"]) / "pytorch_model.bin")
    with pytest.raises(InputError, match="could run code; use the diffusers folder"):
        convert(folders["published"], folders["base"], tmp_path / "pipeline")
    assert "this code ran" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"not a tensor file", "cut"])
def test_a_broken_file_is_refused(folders, tmp_path, content):
    path = Path(folders["published"]) / "pytorch_model.bin"
    path.write_bytes(path.read_bytes()[:5000] if content == "cut" else content)
    with pytest.raises(InputError, match=r"pytorch_model\.bin: (cannot be read|holds more than tensors)"):
        convert(folders["published"], folders["base"], tmp_path / "pipeline")


def test_any_damage_to_a_file_is_one_line(tmp_path):
    torch.save({"a": torch.ones(3), "b": torch.zeros(2, 2)}, tmp_path / "whole.bin")
    whole = (tmp_path / "whole.bin").read_bytes()
    random = np.random.RandomState(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        for position in random.randint(0, len(whole), 3):
            damaged[position] = random.randint(256)
        (tmp_path / "damaged.bin").write_bytes(damaged)
        try:
            load_tensors(tmp_path / "damaged.bin")
        except InputError as error:
            refused += 1
            assert "could run code" not in str(error) or "nsupported" in str(error.__context__)  # noqa: PT017
    assert refused > 30


@pytest.mark.parametrize("command", [export, convert])
def test_a_full_disk_leaves_nothing(pipe, folders, tmp_path, monkeypatch, command):
    pipe.save_pretrained(tmp_path / "pipeline")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    monkeypatch.setattr("safetensors.torch.save_file", full)
    source = {export: (str(tmp_path / "pipeline"),), convert: (folders["published"], folders["base"])}[command]
    with pytest.raises(InputError, match="cannot be written"):
        command(*source, tmp_path / "new" / "out")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("load", [convert, load_pipeline], ids=["convert", "load"])
def test_a_base_that_is_not_whole_is_refused(folders, tmp_path, load):
    def attempt(message):
        target = (tmp_path / "out",) if load is convert else ()
        with pytest.raises(InputError, match=message):
            load(folders["published"], folders["base"], *target)
        assert not (tmp_path / "out").exists()

    text = Path(folders["base"]) / "text_encoder" / "model.safetensors"
    whole = text.read_bytes()
    save_file({name: t for name, t in load_file(text).items() if "layers.1." not in name}, text, {"format": "pt"})
    attempt(r"text_encoder: \d+ tensors do not fit: missing")
    text.write_bytes(whole)
    vae = Path(folders["base"]) / "vae" / "diffusion_pytorch_model.safetensors"
    whole = vae.read_bytes()
    save_file({name: t for name, t in load_file(vae).items() if "decoder.mid" not in name}, vae, {"format": "pt"})
    attempt(r"vae: \d+ tensors do not fit: missing|vae: no AutoencoderKL")
    vae.write_bytes(whole)
    (Path(folders["base"]) / "tokenizer" / "tokenizer.json").unlink()
    attempt("tokenizer: holds no tokenizer")


def test_export_is_strict(pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "pipeline")
    path = tmp_path / "pipeline" / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({name: t for name, t in load_file(path).items() if ".image_gate." not in name}, path)
    with pytest.raises(InputError, match=r"missing down_blocks\.0\.attentions\.0\.transformer_blocks\.0\.image_gate"):
        export(str(tmp_path / "pipeline"), tmp_path / "out")


def test_folders_of_another_kind_are_refused(folders, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"neither model_index\.json"):
        load_pipeline(str(tmp_path / "empty"), folders["base"])
    with pytest.raises(InputError, match="it has no vae/"):
        load_pipeline(folders["published"], str(tmp_path / "empty"))
    with pytest.raises(InputError, match="not a pipeline folder"):
        export(folders["published"], tmp_path / "out")
    (tmp_path / "empty" / "model_index.json").write_text('{"_class_name": "TextToVideoSDPipeline"}')
    with pytest.raises(InputError, match="a TextToVideoSDPipeline folder; it can be the base"):
        load_pipeline(str(tmp_path / "empty"))
    with pytest.raises(InputError, match="exists already"):
        convert(folders["published"], folders["base"], Path(folders["base"]))


def test_the_command(folders, tmp_path):
    def command(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run([sys.executable, "-m", "smcd.cli", "convert", *arguments], capture_output=True, text=True)

    done = command(folders["published"], str(tmp_path / "pipeline"), "--base", folders["base"])
    assert done.returncode == 0, done.stderr
    assert command(str(tmp_path / "pipeline"), str(tmp_path / "back"), "--to_published").returncode == 0
    assert {path.name for path in (tmp_path / "back").iterdir()} == {
        path.name for path in Path(folders["published"]).iterdir()
    }
    halved = command(str(tmp_path / "pipeline"), str(tmp_path / "half"), "--to_published", "--dtype", "float16")
    assert halved.returncode == 2
    assert "leave out --dtype" in halved.stderr
    failed = command(str(tmp_path / "nowhere"), str(tmp_path / "out"), "--base", folders["base"])
    assert failed.returncode == 2
    assert failed.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in failed.stderr
