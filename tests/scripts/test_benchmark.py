"""scripts/benchmark.py on the tiny size."""

import json
import subprocess
import sys
from pathlib import Path

import PIL.Image
import pytest
import torch
from diffusers.models.autoencoders.vae import Decoder
from torch import nn

from scripts.benchmark import Options, flops_of, make_base, make_pipeline, run
from smcd.runtime.errors import InputError
from tests.golden import relative_error

SCRIPT = Path(__file__).parents[2] / "scripts" / "benchmark.py"
TINY = {"size": "tiny", "pixels": 32, "repeats": 1, "device": "cpu"}


def measure(tmp_path, **options) -> list[dict]:
    numbers = tmp_path / "numbers.json"
    run(Options(**TINY | options, json=str(numbers)))
    return json.loads(numbers.read_text())["rows"]


def test_command_prints_a_table_and_writes_json_and_picture(tmp_path):
    files = ["--json", str(tmp_path / "a.json"), "--picture", str(tmp_path / "a.png")]
    small = ["--size", "tiny", "--pixels", "32", "--repeats", "2", "--vs", "base", "--device", "cpu"]
    done = subprocess.run([sys.executable, SCRIPT, "--what", "call", *small, *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "of ceiling" in done.stdout
    assert [line.split("  ")[0] for line in done.stdout.splitlines()[2:]] == ["diffusers' base", "smcd"]
    content = json.loads((tmp_path / "a.json").read_text())
    assert content.keys() == {"config", "rows"}
    assert content["config"]["torch"] == torch.__version__
    for row in content["rows"]:
        assert len(row["seconds"]) >= 2
        assert min(row["seconds"]) <= row["median"] <= max(row["seconds"])
        assert row["TFLOP"] > 0
        assert row["peak GiB"] >= 0
        assert 0 < row["share of ceiling"] < 1
    with PIL.Image.open(tmp_path / "a.png") as picture:
        assert picture.width > 500


def test_wrong_options_are_one_line():
    command = [sys.executable, SCRIPT, "--size", "tiny", "--pixels", "33"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["error: pixels is 33; it must be a multiple of 16"]


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"what": "train", "vs": "base"}, "--vs"),
        ({"sweep": "frames", "vs": "base"}, "--vs"),
        ({"what": "profile", "compile": True}, "--compile"),
        ({"what": "profile", "picture": "a.png"}, "--picture"),
        ({"compile_mode": "max-autotune"}, "--compile"),
        ({"branches": 3, "vs": "base"}, "--branches"),
        ({"frames": 0}, "frames"),
    ],
)
def test_options_that_do_not_go_together(options, key):
    with pytest.raises(InputError, match=key):
        run(Options(**options))


def test_flops_grow_with_the_frames_and_the_picture_shows_it(tmp_path):
    rows = measure(tmp_path, sweep="frames", picture=str(tmp_path / "sweep.png"))
    assert [row["name"] for row in rows] == ["8 frames", "16 frames", "32 frames"]
    flops = [row["TFLOP"] for row in rows]
    assert 1.9 < flops[1] / flops[0] < 2.2
    assert 1.9 < flops[2] / flops[1] < 2.2
    assert (tmp_path / "sweep.png").is_file()


class Squared(nn.Linear):
    def forward(self, x):
        return super().forward(x).square()


def test_flops_of_compiled_layers_are_counted():
    layer, x = Squared(8, 8).requires_grad_(False), torch.ones(4, 8)
    layer.compile(fullgraph=True, backend="eager")
    layer(x)
    assert flops_of(lambda: layer(x)) == flops_of(lambda: layer(x), fake=False) == 2 * 4 * 8 * 8


@pytest.mark.parametrize("fake", [True, False])
def test_attention_counts_as_its_two_matrix_products(fake):
    q = torch.ones(1, 2, 16, 8, requires_grad=not fake)

    def attend():
        out = nn.functional.scaled_dot_product_attention(q, q, q)
        if not fake:
            out.sum().backward()

    forward = 2 * (2 * 2 * 16 * 16 * 8)
    assert flops_of(attend, fake) == (forward if fake else 3.5 * forward)  # backward: five products, one of them again


def test_more_guidance_branches_are_more_operations(tmp_path):
    [one], [five] = measure(tmp_path, branches=1), measure(tmp_path, branches=5)
    assert 4.5 < five["TFLOP"] / one["TFLOP"] < 5.1  # shared: the guidance formula, no matrix product


def test_clip_beside_diffusers(tmp_path):
    base, ours = measure(tmp_path, what="clip", vs="base", steps=2)
    assert ours["TFLOP"] > base["TFLOP"]


@pytest.mark.parametrize(("stage", "share"), [("1", 1), ("2", 0.8)])
def test_training_with_gradient_checkpointing_computes_more_in_less_memory(tmp_path, stage, share):
    [plain] = measure(tmp_path, what="train", stage=stage, pixels=64)
    [checkpointed] = measure(tmp_path, what="train", stage=stage, pixels=64, gradient_checkpointing=True)
    assert checkpointed["TFLOP"] > 1.1 * plain["TFLOP"]
    assert checkpointed["peak GiB"] < share * plain["peak GiB"]


def test_a_profile_says_what_a_step_spends_its_time_on(capsys):
    run(Options(**TINY, what="profile", vs="base"))
    base, ours = capsys.readouterr().out.split("\nsmcd\n")
    for table in (base, ours):
        assert "Self CPU %" in table
        assert "convolution" in table
        assert "addmm" in table


@pytest.mark.parametrize("low_memory", [False, True])
def test_a_clip_with_low_memory_is_decoded_in_slices(tmp_path, monkeypatch, low_memory):
    batches = []
    decode = Decoder.forward
    monkeypatch.setattr(Decoder, "forward", lambda part, z, *rest: batches.append(len(z)) or decode(part, z, *rest))
    measure(tmp_path, what="clip", steps=1, low_memory=low_memory)
    assert set(batches) == ({1} if low_memory else {8})


@pytest.mark.parametrize("what", ["call", "clip"])
def test_low_memory_takes_less_memory(tmp_path, what):
    [plain] = measure(tmp_path, what=what, steps=1)
    [low] = measure(tmp_path, what=what, steps=1, low_memory=True)
    assert low["peak GiB"] < 0.6 * plain["peak GiB"]


def test_half_precision_errors(tmp_path):
    errors = {row["name"]: row["error of one call"] for row in measure(tmp_path, what="precision")}
    assert 1e-3 < errors["bfloat16"] < 0.1
    assert errors["float16"] < errors["bfloat16"]


@torch.no_grad()
def test_the_base_shares_the_weights_and_computes_what_closed_gates_compute():
    unet = make_pipeline(Options(**TINY)).unet
    base = make_base(unet)
    x = torch.randn(1, 4, 3, 8, 8)
    text = torch.randn(1, 77, 64)
    assert relative_error(unet(x, 400, text).sample, base(x, 400, text).sample) < 1e-5
    assert flops_of(lambda: unet(x, torch.tensor(400), text)) < flops_of(lambda: base(x, torch.tensor(400), text))
