"""FSDP 2: scalars as vectors, and two CPU processes as accelerate sets them up on GPUs (make test-slow)."""

from dataclasses import replace

import pytest
import torch
from accelerate import PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

from smcd.runtime.errors import InputError
from smcd.training import distributed, loop
from tests.training import runs
from tests.training.test_objective import example, make_networks
from tests.training.test_resume import no_dropout


def with_fsdp(*values):
    """accelerate takes FSDP for GPUs only: here its state is told so afterwards."""
    accelerator = distributed.make_accelerator(*values)
    accelerator.state.distributed_type = DistributedType.FSDP
    PartialState._shared_state["distributed_type"] = DistributedType.FSDP  # every AcceleratorState() copies from there
    accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=["DownBlock", "MidBlock", "UpBlock"],
        reshard_after_forward=True,
        cpu_ram_efficient_loading=False,
        state_dict_type="FULL_STATE_DICT",
    )
    accelerator.state.fsdp_plugin.mixed_precision_policy = None
    return accelerator


@pytest.mark.slow
def test_fsdp_trains_and_resumes_as_ddp_does(tmp_path, monkeypatch):
    settings = runs.config(tmp_path / "ddp", train_batch_size=1, max_train_steps=6, validation_steps=3)
    no_dropout(settings, tmp_path)
    runs.run_processes(settings, 2)
    monkeypatch.setattr(loop, "make_accelerator", with_fsdp)
    sharded = replace(settings, output_dir=str(tmp_path / "fsdp"))
    for steps in (3, 6):
        runs.run_processes(replace(sharded, max_train_steps=steps), 2)
    optimizer = torch.load(tmp_path / "fsdp" / "checkpoint-6" / "state.pt", weights_only=True)["optimizer"]
    assert all(name.startswith(("unet.", "image_encoder.")) for name in optimizer["state"])  # by name: it was FSDP
    for key in ("loss", "gradient_norm", "validation/loss"):
        expected, found = runs.metrics(tmp_path / "ddp", key), runs.metrics(tmp_path / "fsdp", key)
        assert list(found) == list(expected)
        assert list(found.values()) == pytest.approx(list(expected.values()), rel=1e-5)
    assert (tmp_path / "fsdp" / "pipeline" / "model_index.json").is_file()
    monkeypatch.undo()
    with pytest.raises(InputError, match="checkpoint-6: was written under FSDP: go on the same way"):
        runs.run(replace(sharded, train_batch_size=2, max_train_steps=7))


def test_gates_as_vectors_compute_the_same():
    networks, batch = make_networks().eval(), example(2, 4)
    expected = networks(batch)
    distributed.gates_as_vectors(networks)
    assert all(parameter.ndim for parameter in networks.parameters())
    assert torch.equal(networks(batch), expected)
