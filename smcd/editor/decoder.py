"""A process that reads what users upload, so that a broken or hostile file harms nothing else."""

import asyncio
import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from smcd.runtime.errors import InputError

Result = TypeVar("Result")
_MEMORY = 6 << 30  # bytes of address space: an image of 100 megapixels needs 1.5 GB
_SECONDS = 120.0


class Decoder:
    """Runs one function at a time in the process, which it starts anew after a crash or a timeout."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    async def __call__(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """What the function gives. Raises its InputError, or one if it takes too much memory or time."""
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=_begin)
        try:
            return await asyncio.wait_for(
                asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments), _SECONDS
            )
        except (BrokenProcessPool, MemoryError):
            self.close()
            raise InputError("the file cannot be read: it takes too much memory") from None
        except TimeoutError:
            self.close()
            raise InputError(f"the file cannot be read within {_SECONDS:.0f} seconds") from None

    def close(self) -> None:
        """End the process."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            for process in list((pool._processes or {}).values()):
                process.kill()
            pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """In the process, before it reads anything: limit its memory, and let it end with the server, however that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(ImportError, ValueError, OSError):  # not on Windows; not above a limit that is there
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    threading.Thread(target=_end_with_server, daemon=True).start()


def _end_with_server() -> None:
    server = multiprocessing.parent_process()
    if server is not None:
        server.join()
        os._exit(1)
