"""FSDP 2 on two CPU processes, as accelerate sets it up on GPUs (make test-slow)."""

from dataclasses import replace

import pytest
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

from smcd.training import loop, setup
from tests.training import runs
from tests.training.test_resume import no_dropout


def with_fsdp(config):
    """accelerate takes FSDP for GPUs only: here its state is told so afterwards."""
    config, accelerator = setup.make_accelerator(config)
    accelerator.state.distributed_type = DistributedType.FSDP
    accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=["DownBlock", "MidBlock", "UpBlock"],
        reshard_after_forward=True,
        cpu_ram_efficient_loading=False,
        state_dict_type="FULL_STATE_DICT",
    )
    accelerator.state.fsdp_plugin.mixed_precision_policy = None
    return config, accelerator


@pytest.mark.slow
def test_fsdp_trains_and_resumes_as_ddp_does(tmp_path, monkeypatch):
    settings = runs.config(tmp_path / "ddp", train_batch_size=1, max_train_steps=6)
    no_dropout(settings, tmp_path)
    runs.run_processes(settings, 2)
    monkeypatch.setattr(loop, "make_accelerator", with_fsdp)
    sharded = replace(settings, output_dir=str(tmp_path / "fsdp"))
    for steps in (3, 6):
        runs.run_processes(replace(sharded, max_train_steps=steps), 2)
    losses, others = runs.metrics(tmp_path / "ddp"), runs.metrics(tmp_path / "fsdp")
    assert list(others) == list(losses)
    assert list(others.values()) == pytest.approx(list(losses.values()), rel=1e-5)
    assert (tmp_path / "fsdp" / "pipeline" / "model_index.json").is_file()
