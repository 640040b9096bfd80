"""FSDP 2, DeepSpeed and two nodes on CPU processes, as accelerate sets them up on GPUs (make test-slow)."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import yaml
from accelerate import PartialState
from accelerate.utils import DeepSpeedPlugin, DistributedType, FullyShardedDataParallelPlugin

from smcd import SMCDPipeline
from smcd.runtime.errors import InputError
from smcd.training import distributed, loop
from tests.training import runs
from tests.training.test_objective import example, make_networks
from tests.training.test_resume import REPOSITORY, no_dropout, plain


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


def with_zero2(out, precision, accumulation, batch_size, max_grad_norm, trackers):
    """accelerate takes DeepSpeed for GPUs only, too."""
    from deepspeed import comm

    accelerator = distributed.make_accelerator(out, precision, accumulation, batch_size, max_grad_norm, trackers)
    comm.init_distributed(dist_backend="gloo", auto_mpi_discovery=False)
    plugin = DeepSpeedPlugin(zero_stage=2, gradient_accumulation_steps=accumulation)
    plugin.select(_from_accelerator_state=True)
    distributed.set_deepspeed(plugin, batch_size, max_grad_norm)
    accelerator.state.distributed_type = DistributedType.DEEPSPEED
    PartialState._shared_state["distributed_type"] = DistributedType.DEEPSPEED
    accelerator.state.deepspeed_plugins = {"default": plugin}
    accelerator.deepspeed_engine_wrapped = None
    return accelerator


@pytest.mark.slow
@pytest.mark.parametrize("with_shards", [with_fsdp, with_zero2])
def test_divided_among_processes_training_and_resuming_are_as_under_ddp(tmp_path, monkeypatch, with_shards):
    if with_shards is with_zero2:
        pytest.importorskip(
            "deepspeed"
        )  # DS_BUILD_OPS=0 pip install deepspeed; with a compiler, as it builds gloo's parts
    settings = runs.config(tmp_path / "ddp", train_batch_size=1, max_train_steps=6, validation_steps=3)
    no_dropout(settings, tmp_path)
    runs.run_processes(settings, 2)
    monkeypatch.setattr(loop, "make_accelerator", with_shards)
    sharded = replace(settings, output_dir=str(tmp_path / "sharded"))
    for steps in (3, 6):
        runs.run_processes(replace(sharded, max_train_steps=steps), 2)
    for key in ("loss", "gradient_norm", "validation/loss"):
        expected, found = runs.metrics(tmp_path / "ddp", key), runs.metrics(tmp_path / "sharded", key)
        assert list(found) == list(expected)
        assert list(found.values()) == pytest.approx(list(expected.values()), rel=1e-5)
    folders = (tmp_path / "pipeline", tmp_path / "ddp" / "pipeline", tmp_path / "sharded" / "pipeline")
    unets = [SMCDPipeline.from_pretrained(folder).unet.parameters() for folder in folders]
    start, expected, found = (torch.cat([parameter.flatten() for parameter in unet]) for unet in unets)
    # AdamW makes a whole step of a gradient that is nothing but rounding: a few numbers differ.
    assert (found - expected).norm() < 0.05 * (expected - start).norm()
    monkeypatch.undo()
    kind = "FSDP" if with_shards is with_fsdp else "DeepSpeed"
    with pytest.raises(InputError, match=f"checkpoint-6: was written under {kind}: go on the same way"):
        runs.run(replace(sharded, train_batch_size=2, max_train_steps=7))


@pytest.mark.slow
def test_two_nodes_train_and_resume_as_two_processes_do(tmp_path):
    """Two launchers on this machine, each with one process."""
    settings = runs.config(tmp_path / "one", train_batch_size=1, max_train_steps=6)
    no_dropout(settings, tmp_path)
    runs.run_processes(settings, 2)
    file = tmp_path / "config.yaml"
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", "configs/accelerate/two_nodes.yaml"]
    launch += ["--num_processes", "2", "--main_process_port", runs.free_port(), "--machine_rank"]
    for steps in (3, 6):
        file.write_text(
            yaml.safe_dump(plain(replace(settings, output_dir=str(tmp_path / "two"), max_train_steps=steps)))
        )
        nodes = [
            subprocess.Popen([*launch, rank, "ms_main.py", "--config", str(file)], cwd=REPOSITORY) for rank in "01"
        ]
        assert [node.wait(300) for node in nodes] == [0, 0]
    expected, found = runs.metrics(tmp_path / "one"), runs.metrics(tmp_path / "two")
    assert list(found.values()) == pytest.approx(list(expected.values()), rel=1e-5)
    assert len(found) == 6


def test_gates_as_vectors_compute_the_same():
    networks, batch = make_networks().eval(), example(2, 4)
    expected = networks(batch)
    distributed.gates_as_vectors(networks)
    assert all(parameter.ndim for parameter in networks.parameters())
    assert torch.equal(networks(batch), expected)
