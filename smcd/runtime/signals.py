"""SIGTERM and Ctrl-C end training after the step that is under way."""

import logging
import os
import signal
from contextlib import suppress
from types import FrameType
from typing import Any

logger = logging.getLogger(__name__)
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """While it is entered, the first signal only sets `received`; the second does what it did before."""

    def __init__(self) -> None:
        self.received = 0
        self._process = os.getpid()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        self._before = {number: signal.signal(number, self._receive) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # a process that reads data: the training process will end it
        self.received = number
        self._restore()
        with suppress(RuntimeError):  # if it comes while a line is written
            logger.info(f"{signal.Signals(number).name}: finishing this step, then a checkpoint; again to stop at once")

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
