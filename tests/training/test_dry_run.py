"""What a dry run says: the memory of a step, and whether the data are there."""

import importlib.util
import re
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from smcd.config import DataConfig
from smcd.runtime.errors import InputError
from smcd.training.dry_run import PeakMemory, activations_of
from smcd.training.objective import set_trained
from tests.training import runs
from tests.training.test_objective import example, make_networks


def measured_peak(checkpointing: bool) -> int:
    """Bytes of the activations of a real step on the CPU, without the gradients of the weights."""
    networks = make_networks().train()
    if checkpointing:
        networks.unet.enable_gradient_checkpointing()
    batch = example()
    with PeakMemory() as memory:
        networks(batch).mean().backward()
    return memory.peak - sum(p.grad.nbytes for p in networks.parameters() if p.grad is not None)


def test_gradient_checkpointing_saves_activations(capsys):
    plain, checkpointed = measured_peak(False), measured_peak(True)
    assert checkpointed < 0.6 * plain
    with capsys.disabled():
        saved = 1 - checkpointed / plain
        print(f"\nactivations {plain / 2**20:.1f} MiB, with checkpointing {checkpointed / 2**20:.1f} MiB: -{saved:.0%}")


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_memory_that_a_dry_run_counts_is_what_a_step_takes(checkpointing):
    networks = make_networks().train()
    if checkpointing:
        networks.unet.enable_gradient_checkpointing()
    counted = activations_of(networks, example)
    assert counted == pytest.approx(measured_peak(checkpointing), rel=0.1)


def test_a_dry_run_plans_for_another_machine(tmp_path, capsys, monkeypatch):
    """Its memory is that of the precision asked for, and no tracker need be installed."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    settings = runs.config(tmp_path / "out", use_wandb=True)
    totals = []
    for precision in ("no", "fp16"):
        runs.run(replace(settings, mixed_precision=precision), dry_run=True)
        printed = capsys.readouterr().out
        assert f"in GiB ({precision} precision)" in printed
        totals.append(float(re.search(r"([\d.]+)  together", printed)[1]))
    assert totals[1] < totals[0]


@pytest.mark.parametrize("checkpointing", [False, True])
def test_half_precision_is_counted_as_a_gpu_computes_it(monkeypatch, checkpointing):
    """What autocast does there and not on a CPU: norms in float32, attention (also its backward) in 16 bits."""
    dtypes: dict[str, set[torch.dtype]] = {}

    def spy(name):
        original = getattr(functional, name)

        def call(*args, **options):
            dtypes.setdefault(name, set()).add((*args, *options.values())[0].dtype)
            return original(*args, **options)

        monkeypatch.setattr(functional, name, call)

    for name in ("group_norm", "layer_norm", "scaled_dot_product_attention"):
        spy(name)
    networks = make_networks().train()
    if checkpointing:
        networks.unet.enable_gradient_checkpointing()
    half = activations_of(networks, example, half=True)
    assert dtypes.pop("scaled_dot_product_attention") == {torch.float16}
    assert dtypes == {"group_norm": {torch.float32}, "layer_norm": {torch.float32}}
    assert half < activations_of(networks, example)


def test_frozen_weights_of_either_16_bit_type_are_counted_alike():
    counts = []
    for dtype in (torch.float16, torch.bfloat16):
        networks = make_networks().train()
        set_trained(networks, {"unet.conv_in.weight"}, dtype)
        counts.append(activations_of(networks, example, half=True))
    assert counts[0] == counts[1]


def test_a_dry_run_looks_at_the_data(tmp_path, capsys):
    settings = runs.config(tmp_path / "out")
    runs.run(replace(settings, mixed_precision="fp16"), dry_run=True)  # which only a GPU has: the plan is for one
    said = capsys.readouterr().out
    assert "data: sprites/0 (20 clips)" in said
    assert "in GiB (fp16 precision)" in said
    with pytest.raises(InputError, match="/nowhere: no such folder"):
        runs.run(replace(settings, train_data=DataConfig(path="/nowhere")), dry_run=True)
    assert not (tmp_path / "out").exists()
