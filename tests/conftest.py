"""Shared fixtures: tiny pipelines whose gates are open, so that every condition has a say."""

import pytest
import torch

from smcd.pipeline import SMCDPipeline
from smcd.sprites.tiny import tiny_pipeline

torch.set_num_threads(1)  # tiny tensors: threads cost more than they give, most of all beside another process


def open_gates(pipe: SMCDPipeline) -> SMCDPipeline:
    generator = torch.Generator().manual_seed(5)
    for name, parameter in pipe.unet.named_parameters():
        if "alpha_" in name:
            torch.nn.init.constant_(parameter, 0.7)
    if pipe.unet.config.image_concat:
        torch.nn.init.normal_(pipe.unet.conv_in.weight, std=0.1, generator=generator)
    for parameter in pipe.position_net.parameters() if pipe.position_net is not None else ():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, generator=generator)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="session")
def shared_pipe() -> SMCDPipeline:
    """Do not change its weights or scheduler."""
    return open_gates(tiny_pipeline())


@pytest.fixture
def pipe() -> SMCDPipeline:
    """A pipeline of the test's own."""
    return open_gates(tiny_pipeline())
