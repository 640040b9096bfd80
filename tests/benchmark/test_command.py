"""`python -m smcd.benchmark` on the tiny size."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from diffusers.models.autoencoders.vae import Decoder
from torch import nn

from smcd.benchmark.flops import count, count_real
from smcd.benchmark.kinds import kind_of
from smcd.benchmark.measure import Row
from smcd.benchmark.picture import lines
from smcd.benchmark.run import run
from smcd.config import BenchmarkConfig
from smcd.runtime.errors import InputError

ROOT = Path(__file__).parents[2]


def measure(tmp_path, **options) -> list[dict]:
    numbers = tmp_path / "numbers.json"
    run(
        BenchmarkConfig(
            size="tiny", pixels=32, repeats=1, device="cpu", keep_memory=False, json=str(numbers), **options
        )
    )
    return json.loads(numbers.read_text())["rows"]


def test_command_prints_a_table_and_writes_json_and_picture(tmp_path):
    files = ["--json", str(tmp_path / "a.json"), "--picture", str(tmp_path / "a.png")]
    small = ["--size", "tiny", "--pixels", "32", "--repeats", "2", "--vs", "base", "--device", "cpu"]
    command = [sys.executable, "-m", "smcd.benchmark", "--what", "call", *small, *files]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "of ceiling" in done.stdout
    assert [line.split("  ")[0] for line in done.stdout.splitlines()[2:]] == ["diffusers' base", "smcd"]
    content = json.loads((tmp_path / "a.json").read_text())
    assert content.keys() == {"config", "environment", "rows"}
    for row in content["rows"]:
        assert len(row["seconds"]) == 2
        assert min(row["seconds"]) <= row["median"] <= max(row["seconds"])
        assert row["flops"] > 0
        assert row["peak"] >= 0
        assert row["floor"] == pytest.approx(row["flops"] / row["ceiling"])
    with PIL.Image.open(tmp_path / "a.png") as picture:
        assert picture.width > 500


def test_wrong_options_are_one_line():
    command = [sys.executable, "-m", "smcd.benchmark", "--size", "tiny", "--pixels", "33"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["error: pixels is 33; it must be a multiple of 16"]
    with pytest.raises(InputError, match="goes with --what call or profile or clip"):
        run(BenchmarkConfig(what="vae", vs="base"))
    with pytest.raises(InputError, match="leave out --vs"):
        run(BenchmarkConfig(sweep="frames", vs="base"))
    with pytest.raises(InputError, match="leave out --compile and --picture"):
        run(BenchmarkConfig(what="profile", compile=True))
    with pytest.raises(InputError, match="nothing is compiled"):
        run(BenchmarkConfig(compile_mode="max-autotune"))
    with pytest.raises(InputError, match="--branches 1 or 2"):
        run(BenchmarkConfig(branches=3, vs="base"))


def test_flops_grow_with_the_frames_and_the_picture_shows_it(tmp_path):
    rows = measure(tmp_path, sweep="frames", picture=str(tmp_path / "sweep.png"))
    assert [row["name"] for row in rows] == ["8 frames", "16 frames", "32 frames"]
    flops = [row["flops"] for row in rows]
    assert 1.9 < flops[1] / flops[0] < 2.2
    assert 1.9 < flops[2] / flops[1] < 2.2
    assert (tmp_path / "sweep.png").is_file()


def test_the_upper_line_of_a_sweep_has_its_labels_above(tmp_path):
    lines([Row("1", [1.0], flops=10), Row("2", [3.0], flops=40)], tmp_path / "sweep.png")
    pixels = np.asarray(PIL.Image.open(tmp_path / "sweep.png")).astype(int)
    above = pixels[:74, 700:790]  # of the last point
    warm, cold = (((above[..., 0] - above[..., 2]) * sign > 60).any() for sign in (1, -1))
    assert warm  # FLOPs
    assert not cold


class Squared(nn.Linear):
    def forward(self, x):
        return super().forward(x).square()


def test_flops_of_compiled_layers_are_counted():
    layer, x = Squared(8, 8), torch.ones(4, 8)
    layer.compile(fullgraph=True, backend="eager")
    layer(x)
    assert count(lambda: layer(x)) == count_real(lambda: layer(x)) == 2 * 4 * 8 * 8


def test_more_guidance_branches_are_more_operations(tmp_path):
    [one], [five] = measure(tmp_path, branches=1), measure(tmp_path, branches=5)
    assert 4.5 < five["flops"] / one["flops"] < 5.1  # shared: the guidance formula, no matrix product


def test_clip_beside_diffusers(tmp_path):
    base, ours = measure(tmp_path, what="clip", vs="base", steps=2)
    assert ours["flops"] > base["flops"]


@pytest.mark.parametrize("stage", ["1", "2"])
def test_training_with_gradient_checkpointing_computes_more(tmp_path, stage):
    [plain] = measure(tmp_path, what="train", stage=stage)
    [checkpointed] = measure(tmp_path, what="train", stage=stage, gradient_checkpointing=True)
    assert checkpointed["flops"] > 1.1 * plain["flops"]
    assert plain["notes"]["steps a second"] == pytest.approx(1 / plain["median"])


def test_a_profile_says_what_a_step_spends_its_time_on(tmp_path):
    for row in measure(tmp_path, what="profile", vs="base"):
        shares = {kind: int(share.rstrip("%")) for kind, share in row["notes"].items()}
        assert 95 <= sum(shares.values()) <= 105
        assert min(shares["convolutions"], shares["linear layers"]) > 0


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("aten::_scaled_dot_product_flash_attention_for_cpu", "attention"),
        ("aten::_flash_attention_forward", "attention"),  # on a GPU
        ("aten::_efficient_attention_forward", "attention"),
        ("aten::mkldnn_convolution", "convolutions"),
        ("aten::cudnn_convolution", "convolutions"),
        ("aten::addmm", "linear layers"),
        ("aten::matmul", "linear layers"),
        ("aten::native_layer_norm", "norms"),
        ("aten::copy_", "copies"),
        ("aten::mul", "element by element"),
        ("aten::view", "the rest"),
    ],
)
def test_kinds_of_operations(operation, kind):
    assert kind_of(operation) == kind


def test_decoding_and_low_memory(tmp_path):
    assert [row["name"] for row in measure(tmp_path, what="vae")] == ["at once", "in slices"]
    assert len(measure(tmp_path, what="memory")) == 4


@pytest.mark.parametrize("low_memory", [False, True])
def test_a_clip_with_low_memory_is_decoded_in_slices(tmp_path, monkeypatch, low_memory):
    batches = []
    decode = Decoder.forward
    monkeypatch.setattr(Decoder, "forward", lambda part, z, *rest: batches.append(len(z)) or decode(part, z, *rest))
    monkeypatch.setattr("smcd.benchmark.clips.count", lambda work: 1)  # which would decode once more
    measure(tmp_path, what="clip", vs="base", steps=1, low_memory=low_memory)
    assert set(batches) == ({1, 8} if low_memory else {8})  # the base decodes at once


def test_loading_that_is_killed_is_one_line(tmp_path, monkeypatch):
    killed = subprocess.CompletedProcess([], -9, "", "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: killed)
    with pytest.raises(InputError, match="loading failed: exit code -9"):
        measure(tmp_path, what="load")


def test_half_precision_errors(tmp_path):
    rows = {row["name"]: row["notes"] for row in measure(tmp_path, what="precision")}
    assert 1e-3 < rows["bfloat16, as it is"]["one call"] < 0.1
    assert rows["float16, as it is"]["one call"] < rows["bfloat16, as it is"]["one call"]
    assert rows["bfloat16, scheduler's step in 16 bits"]["one call"] == rows["bfloat16, as it is"]["one call"]


def test_loading(tmp_path):
    loading, *start = measure(tmp_path, what="load")
    assert loading["notes"]["peak, x weights"] > 0
    assert [row["name"] for row in start] == ["inference_customize.py --help"]
