"""What a CPU makes of 16 bits."""

import pytest
import torch

from smcd.runtime.precision import _speed_of, cpu_computes_bfloat16, usable_precision
from tests.training import runs


@pytest.mark.parametrize(
    ("bfloat16", "device", "asked", "used"),
    [
        (True, "cpu", "bf16", "bf16"),
        (False, "cpu", "bf16", "no"),
        (True, "cpu", "fp16", "no"),
        (False, "cpu", "no", "no"),
        (False, "cuda", "bf16", "bf16"),
        (False, "cuda", "fp16", "fp16"),
    ],
)
def test_precision_that_a_device_has(monkeypatch, caplog, bfloat16, device, asked, used):
    monkeypatch.setattr("smcd.runtime.precision.cpu_computes_bfloat16", lambda: bfloat16)
    assert usable_precision(asked, device) == used
    assert (f"{asked} is slow on this CPU: using float32" in caplog.text) == (used != asked)


@pytest.mark.parametrize(("bfloat16", "faster"), [(400.0, True), (55.0, False), (2.0, False)])
def test_bfloat16_is_used_where_its_products_are_faster(monkeypatch, bfloat16, faster):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    speeds = {torch.bfloat16: bfloat16, torch.float32: 50.0}
    monkeypatch.setattr("smcd.runtime.precision._speed_of", speeds.__getitem__)
    assert cpu_computes_bfloat16() == faster


def test_the_speed_of_products_is_measured():
    assert 0.1 < _speed_of(torch.float32) < 1e5


def test_torch_without_onednn_is_taken_for_a_cpu_without_bfloat16(monkeypatch):
    monkeypatch.setattr(torch.ops, "mkldnn", object())
    assert not cpu_computes_bfloat16()


def test_training_takes_float32_where_the_cpu_has_no_bfloat16(tmp_path, monkeypatch):
    monkeypatch.setattr("smcd.runtime.precision.cpu_computes_bfloat16", lambda: False)
    config = runs.config(tmp_path / "out", max_train_steps=1, mixed_precision="bf16")
    out = runs.run(config)
    assert "mixed_precision: 'no'" in (out / "config.yaml").read_text()
