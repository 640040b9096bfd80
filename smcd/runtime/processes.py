"""Work that several processes share, started by accelerate launch or torchrun."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from smcd.runtime.errors import InputError, out_of_memory_advice

Result = TypeVar("Result")
_PATIENCE = timedelta(days=7)  # how long processes wait for one another: their shares may be unequal


@contextmanager
def shared_work(out_of_memory: str) -> Iterator[PartialState]:
    """This process among those that share the work, and its device.

    If memory runs out, an InputError gives the advice `out_of_memory`.
    """
    accelerator = torch.cuda.is_available() or torch.backends.mps.is_available()
    state = PartialState(cpu=not accelerator, timeout=_PATIENCE)
    try:
        with out_of_memory_advice(out_of_memory):
            yield state
    finally:
        state.destroy_process_group()


def in_main(state: PartialState, work: Callable[[], Result]) -> Result:
    """What `work` gives in the main process, for all; its error is raised there, and ends the others too."""
    outcome: list[Any] = [None]
    if state.is_main_process:
        try:
            outcome = [work()]
        except (InputError, OSError) as error:
            outcome = [error]
    if state.num_processes > 1:
        broadcast_object_list(outcome)
    if isinstance(outcome[0], Exception):
        if state.is_main_process:
            raise outcome[0]
        sys.exit(2)  # the main process says why
    return outcome[0]
