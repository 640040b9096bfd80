"""inference_customize.py, as users run it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import PIL.Image
import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file

from smcd.config import CustomizeConfig, SamplingConfig, load
from smcd.customize.animate import customize
from smcd.runtime.errors import InputError
from tests.convert.published import write_diffusers_base, write_published

SMALL = ["--width", "32", "--height", "32", "--num_inference_steps", "2", "--video_length", "3"]
REPOSITORY = Path(__file__).parents[2]
ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch", "--cpu"]


@pytest.fixture
def folder(tmp_path) -> Path:
    """A user's folder with two objects."""
    folder = tmp_path / "input"
    folder.mkdir()
    PIL.Image.fromarray(np.full((50, 100, 3), 200, np.uint8)).save(folder / "img.png")
    objects = [
        {"phrase": "red car", "boxes": {"0": [0, 0, 40, 40], "2": [50, 0, 90, 40]}},
        {"phrase": "dog", "boxes": {"1": [10, 10, 30, 30]}},
    ]
    (folder / "objects.json").write_text(json.dumps(objects))
    return folder


def run(folder: Path, out: Path, *arguments: str, launcher: list[str] | None = None) -> subprocess.CompletedProcess:
    command = [*(launcher or [sys.executable]), "inference_customize.py", "--input_data_path", str(folder)]
    command += ["--prompt", "A red car drives.", "--output_dir", str(out), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def config(folder: Path, out: Path, **changes) -> CustomizeConfig:
    sampling = SamplingConfig(video_length=3, width=32, height=32, num_inference_steps=1, guidance_scale=7.5)
    return CustomizeConfig(
        **{
            "input_data_path": str(folder),
            "prompt": "A red car drives.",
            "output_dir": str(out),
            "validation_data": sampling,
            **changes,
        }
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_it_writes_everything_and_again_the_same(folder, tmp_path):
    done = run(folder, tmp_path / "out", *SMALL)
    assert done.returncode == 0, done.stderr
    assert "the built-in sprites model does not know: car, drives, dog." in done.stderr
    files = contents(tmp_path / "out")
    frames = {f"pred_box_img/pred_box_img_{index}.png" for index in range(3)}
    names = {"boxes_pred.gif", "config.yaml", "cus_pred.gif", "cus_pred.mp4", "prompt.txt", "strip.png"}
    assert set(files) == names | frames
    assert files["prompt.txt"] == b"A red car drives.\n"
    assert imageio.imread(tmp_path / "out" / "cus_pred.mp4").shape == (3, 32, 32, 3)

    resolved = tmp_path / "out" / "config.yaml"
    assert run(folder, tmp_path / "again", "--config", str(resolved)).returncode == 0
    repeated = contents(tmp_path / "again")
    assert {name: data for name, data in repeated.items() if name != "config.yaml"} == {
        name: data for name, data in files.items() if name != "config.yaml"
    }


def test_published_command_under_accelerate_with_published_weights(folder, pipe, tmp_path):
    weights = write_published(tmp_path / "weights", pipe)
    base = write_diffusers_base(tmp_path / "base", pipe)
    flags = ["--config", "./configs/customize_infer.yaml", "--train_grounding", "vanilla_cross_vision"]
    flags += ["--cross_vision", "--cat_init", "--trained_ckpt_path", str(weights)]
    done = run(folder, tmp_path / "out", *flags, *SMALL, f"pretrained_model_path={base}", launcher=ACCELERATE)
    assert done.returncode == 0, done.stderr
    assert "built-in" not in done.stderr
    assert (tmp_path / "out" / "cus_pred.gif").is_file()


def test_videos_are_shared_between_processes(folder, tmp_path):
    launcher = [*ACCELERATE, "--num_processes", "2"]
    done = run(folder, tmp_path / "two", *SMALL, "--num_videos", "3", "--format", "png", launcher=launcher)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("INFO: wrote") == 3
    customize(config(folder, tmp_path / "one", seed=34, format=["png"], validation_data=SamplingConfig(3, 32, 32, 2)))
    two = imageio.imread(tmp_path / "two" / "seed_34" / "pred_img" / "pred_img_2.png")
    one = imageio.imread(tmp_path / "one" / "pred_img" / "pred_img_2.png")
    assert np.abs(two.astype(int) - one).max() <= 1
    assert sorted(p.name for p in (tmp_path / "two").iterdir()) == ["seed_33", "seed_34", "seed_35"]


def test_torchrun_shares_the_videos_too(folder, tmp_path):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    done = run(folder, tmp_path / "out", *SMALL, "--num_videos", "3", launcher=launcher)
    assert done.returncode == 0, done.stderr
    wrote = re.findall(r"INFO: wrote (\S+)", done.stderr)  # the other process's progress bar may stand before it
    assert sorted(wrote) == [str(tmp_path / "out" / f"seed_{seed}") for seed in (33, 34, 35)]


def test_bad_input_is_one_line_and_exit_code_2(folder, tmp_path):
    (folder / "objects.json").write_text("[\n{]")
    before = sorted(tmp_path.iterdir())
    done = run(folder, tmp_path / "out", *SMALL)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {folder}/objects.json:2: ")
    assert done.stderr.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM], ids=["ctrl_c", "sigterm"])
def test_an_interruption_leaves_no_half_written_file(folder, tmp_path, stop):
    command = [sys.executable, "inference_customize.py", "--input_data_path", str(folder), "--prompt", "A car."]
    command += ["--output_dir", str(tmp_path / "out"), *SMALL, "--num_inference_steps", "500", "--num_videos", "2"]
    heeds = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731  # a shell's background jobs ignore it
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heeds)
    while "attention:" not in process.stderr.readline():
        assert process.poll() is None
    time.sleep(1)
    process.send_signal(stop)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + stop
    assert "Traceback" not in errors
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": " "}, "no prompt"),
        ({"prompt": "a \udcff"}, "the prompt holds bytes that are no text"),
        ({"negative_prompt": "a \udcff"}, "the negative_prompt holds bytes that are no text"),
        (
            {"negative_prompt": "blur", "validation_data": SamplingConfig(3, 32, 32, 1, 1.0)},
            "negative_prompt has no effect at a guidance_scale of 1.0",
        ),
        ({"input_data_path": None}, "no input"),
        ({"fps": 0}, "fps is 0; it must be from 0.1 to 50"),
        ({"fps": float("nan")}, "fps is nan"),
        ({"num_videos": 0}, "num_videos is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"format": ["gif", "avi"]}, "format is 'avi'; choose from gif, mp4, png"),
        ({"validation_data": SamplingConfig(3, 40, 32, 1)}, "width 40 is not a multiple of 16: the nearest is 32"),
        ({"validation_data": SamplingConfig(0, 32, 32, 1)}, "video_length is 0"),
        ({"validation_data": SamplingConfig(2, 32, 32, 1)}, "frame 2 is beyond the last frame, 1"),
        (
            {"validation_data": SamplingConfig(3, 32, 32, 2000)},
            "num_inference_steps is 2000; this noise schedule takes at most 500",
        ),
        ({"scheduler": "euler"}, "scheduler is 'euler'; choose from ddim, dpmsolver++, unipc"),
        ({"resize": "nearest"}, "resize is 'nearest'"),
        ({"mixed_precision": "fp8"}, "mixed_precision is 'fp8'"),
        ({"output_dir": ""}, "output_dir is empty"),
        ({"trained_ckpt_path": " "}, "a path is empty"),
        ({"compile_mode": "max-autotune"}, "nothing is compiled: add --compile"),
        ({"box_free_guidance": float("nan")}, "box_free_guidance is nan"),
        ({"validation_data": SamplingConfig(3, 10**20, 32, 1)}, "width is 100000000000000000000; it must be from 1"),
        ({"pretrained_model_path": "base"}, "no trained weights: add --trained_ckpt_path"),
        ({"object": "cat"}, "leave out --object"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_written(folder, tmp_path, changes, message):
    with pytest.raises(InputError) as error:
        customize(config(folder, tmp_path / "out", **changes))
    assert message in str(error.value)
    assert not (tmp_path / "out").exists()


def test_an_output_that_cannot_be_written(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file is a file; choose another --output_dir"):
        customize(config(folder, tmp_path / "file" / "out"))


@pytest.mark.parametrize(
    ("paths", "flags", "message"),
    [
        ({"object_gate": False, "image_gate": False, "image_concat": False}, {}, "has no object gate"),
        ({"image_gate": False}, {"cross_vision": True}, "has no image gate"),
        ({"image_gate": False}, {"train_grounding": "vanilla_cross_vision"}, "has no image gate"),
        ({}, {"train_grounding": "vanilla"}, "has an image gate"),
        ({"image_concat": False}, {"cat_init": True}, "has no zero conv"),
        ({"image_gate": False, "image_concat": False}, {}, "has no image path"),
    ],
)
def test_weights_for_another_architecture_are_refused(folder, tmp_path, paths, flags, message):
    from smcd.sprites.tiny import tiny_pipeline

    tiny_pipeline(**paths).save_pretrained(tmp_path / "weights")
    with pytest.raises(InputError, match=message):
        customize(config(folder, tmp_path / "out", trained_ckpt_path=str(tmp_path / "weights"), **flags))
    assert not (tmp_path / "out").exists()


def test_weights_that_are_nowhere(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="nobody/nothing: no such folder"):
        customize(config(folder, tmp_path / "out", trained_ckpt_path="nobody/nothing"))


def test_half_written_outputs_never_replace_whole_ones(folder, tmp_path, monkeypatch):
    out = tmp_path / "out"
    customize(config(folder, out))
    before = contents(out)

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("smcd.runtime.media.strip", full_disk)
    with pytest.raises(InputError, match=r"out: cannot be written \(No space left"):
        customize(config(folder, out, seed=50))
    assert contents(out) == before


def test_outputs_of_a_longer_video_do_not_linger(folder, tmp_path):
    out = tmp_path / "out"
    customize(config(folder, out))
    (folder / "objects.json").write_text('[{"phrase": "car", "boxes": {"0": [0, 0, 40, 40]}}]')
    customize(config(folder, out, validation_data=SamplingConfig(2, 32, 32, 1)))
    assert len(list((out / "pred_box_img").iterdir())) == 2


def test_low_memory_and_resolved_config(folder, tmp_path):
    customize(config(folder, tmp_path / "plain", format=["png"]))
    customize(config(folder, tmp_path / "low", format=["png"], low_memory=True))
    for index in range(3):
        name = f"pred_img/pred_img_{index}.png"
        plain, low = (imageio.imread(tmp_path / which / name).astype(int) for which in ("plain", "low"))
        assert np.abs(plain - low).max() <= 1
    assert OmegaConf.load(tmp_path / "low" / "config.yaml").low_memory is True


def test_a_negative_prompt_makes_another_video(folder, tmp_path):
    for name, text in (("none", None), ("empty", ""), ("circle", "a red circle")):
        customize(config(folder, tmp_path / name, format=["png"], negative_prompt=text))
    none, empty, circle = (
        (tmp_path / name / "pred_img" / "pred_img_1.png").read_bytes() for name in ("none", "empty", "circle")
    )
    assert none == empty != circle
    assert OmegaConf.load(tmp_path / "circle" / "config.yaml").negative_prompt == "a red circle"


def test_what_is_far_from_training_is_said_in_one_line(folder, tmp_path, caplog):
    PIL.Image.fromarray(np.full((50, 90, 3), 200, np.uint8)).save(folder / "img.png")
    customize(config(folder, tmp_path / "near", validation_data=SamplingConfig(5, 64, 64, 1)))
    assert "far from" not in caplog.text
    PIL.Image.fromarray(np.full((50, 150, 3), 200, np.uint8)).save(folder / "img.png")
    objects = [{"phrase": "dog", "boxes": {"0": [0, 0, 40, 40]}}] * 9
    (folder / "objects.json").write_text(json.dumps(objects))
    customize(config(folder, tmp_path / "far", validation_data=SamplingConfig(3, 128, 64, 1)))
    [line] = [record.getMessage() for record in caplog.records if "far from" in record.getMessage()]
    assert re.search("128 x 64 pixels, not 64 x 64; 3 frames, not 8; 9 objects, not up to 8$", line)
    caplog.clear()
    customize(config(folder, tmp_path / "flat", validation_data=SamplingConfig(5, 64, 64, 1)))
    assert "an image of 150 x 50 pixels, squashed to 64 x 64" in caplog.text


def test_help_is_complete():
    shown = subprocess.run([sys.executable, "inference_customize.py", "--help"], capture_output=True, text=True)
    for flag in ("--object", "--box_free_guidance", "--pretrained_weight_path", "--low_memory", "--config"):
        assert flag in shown.stdout


def test_one_frame(folder, tmp_path):
    (folder / "objects.json").write_text('[{"phrase": "car", "boxes": {"0": [0, 0, 40, 40]}}]')
    customize(config(folder, tmp_path / "out", validation_data=SamplingConfig(1, 32, 32, 1)))
    with PIL.Image.open(tmp_path / "out" / "cus_pred.gif") as gif:
        assert gif.n_frames == 1


def test_other_formats_replace_the_earlier_ones(folder, tmp_path):
    out = tmp_path / "out"
    customize(config(folder, out, format=["png", "mp4"]))
    (out / "mine.txt").write_text("keep me")
    customize(config(folder, out, format=["gif"]))
    assert not (out / "pred_img").exists()
    assert not (out / "cus_pred.mp4").exists()
    assert {"cus_pred.gif", "mine.txt"} <= {path.name for path in out.iterdir()}


def test_a_users_files_stay(folder, tmp_path):
    (tmp_path / "out" / "pred_img").mkdir(parents=True)
    (tmp_path / "out" / "pred_img" / "precious.txt").write_text("mine")
    customize(config(folder, tmp_path / "out"))
    assert (tmp_path / "out" / "pred_img" / "precious.txt").read_text() == "mine"


def test_the_written_config_is_literal(folder, tmp_path):
    prompt = "costs ${b}: 'no' ???\u00e9"
    customize(config(folder, tmp_path / "out", prompt=prompt))
    again = load(CustomizeConfig, ["--config", str(tmp_path / "out" / "config.yaml")])
    assert again == config(folder, tmp_path / "out", prompt=prompt)


def test_a_network_that_gives_nan_is_an_error(folder, tmp_path, pipe):
    torch.nn.init.constant_(pipe.unet.conv_out.bias, float("nan"))
    pipe.save_pretrained(tmp_path / "weights")
    with pytest.raises(InputError, match="the network gave NaN"):
        customize(config(folder, tmp_path / "out", trained_ckpt_path=str(tmp_path / "weights")))
    assert not (tmp_path / "out").exists()


def test_a_users_file_in_the_way_is_left_alone(folder, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "pred_box_img").write_text("mine")
    with pytest.raises(InputError, match="pred_box_img: is in the way"):
        customize(config(folder, tmp_path / "out"))
    assert (tmp_path / "out" / "pred_box_img").read_text() == "mine"


def test_precisions(folder, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("smcd.runtime.precision.cpu_computes_bfloat16", lambda: True)  # slowly, on some
    caplog.set_level("INFO")
    customize(config(folder, tmp_path / "plain", format=["png"]))
    customize(config(folder, tmp_path / "autocast", format=["png"], mixed_precision="bf16"))
    customize(config(folder, tmp_path / "half", format=["png"], dtype="bfloat16"))
    plain, *others = (
        imageio.imread(tmp_path / which / "pred_img" / "pred_img_1.png").astype(float)
        for which in ("plain", "autocast", "half")
    )
    assert all(0 < np.abs(other - plain).mean() < 12 for other in others)
    assert "attention: torch's scaled_dot_product_attention" in caplog.text


@pytest.mark.parametrize("file", ["model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors"])
@pytest.mark.parametrize("content", [b"", b"[1, 2]", b'{"_class_name": "SMCDPipeline"}'])
def test_broken_pipeline_folders_are_refused(folder, tmp_path, pipe, file, content):
    pipe.save_pretrained(tmp_path / "weights")
    (tmp_path / "weights" / file).write_bytes(content)
    with pytest.raises(InputError, match=str(tmp_path / "weights")):
        customize(config(folder, tmp_path / "out", trained_ckpt_path=str(tmp_path / "weights")))


@pytest.mark.parametrize(("lost", "message"), [("conv_out.bias", "missing conv_out.bias"), (None, "unexpected stray")])
def test_pipeline_folders_with_other_tensors_are_refused(folder, tmp_path, pipe, lost, message):
    pipe.save_pretrained(tmp_path / "weights")
    path = tmp_path / "weights" / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    tensors.pop(lost) if lost else tensors.update(stray=torch.zeros(1))
    save_file(tensors, path)
    with pytest.raises(InputError, match=message):
        customize(config(folder, tmp_path / "out", trained_ckpt_path=str(tmp_path / "weights")))


def test_the_demo_prints_how_well_the_object_follows_its_boxes(tmp_path):
    command = [sys.executable, "inference_customize.py", "--input_data_path", "examples/bouncing"]
    command += ["--prompt", "A red circle that is bouncing.", "--object", "red circle", "--output_dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    [ao] = re.findall(r"INFO: AO (\d\.\d\d)", done.stderr)
    assert float(ao) > 0.5
    assert "does not know" not in done.stderr
    assert imageio.imread(tmp_path / "cus_pred.gif").shape == (8, 64, 64, 3)
    assert imageio.imread(tmp_path / "boxes_pred.gif").shape == (8, 128, 128, 3)  # enlarged


def test_the_readmes_python(tmp_path):
    section = (REPOSITORY / "README.md").read_text().split("## From Python")[1].split("\n## ")[0]
    code = "\n".join(re.findall(r"^    (.*)$", section, re.M)).replace("examples/", f"{REPOSITORY}/examples/")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert imageio.imread(tmp_path / "circle.gif", index=None).shape == (8, 64, 64, 3)
