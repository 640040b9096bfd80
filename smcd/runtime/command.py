"""What every command does around its work: log lines, one-line errors, exit codes."""

import errno
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

from smcd.runtime.errors import InputError, shown


@contextmanager
def command() -> Iterator[None]:
    """Run a command's work: an InputError or OSError becomes one line and exit code 2.

    Ctrl-C ends it with exit code 130, SIGTERM with 143, both as exceptions, so that half-written files are removed. It
    goes on when nobody reads its output any more (`| head`, a closed terminal).
    """
    said: Any = _Lasting(sys.stdout), _Lasting(sys.stderr)
    with redirect_stdout(said[0]), redirect_stderr(said[1]):
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_Formatter("%(levelname)s: %(message)s"))
        logging.basicConfig(level=logging.INFO, handlers=[handler])
        if os.environ.get("RANK", "0") != "0":  # of several processes the first one tells what all of them read
            logging.getLogger("smcd.config").setLevel(logging.ERROR)
        for noisy in ("httpx", "httpx2", "huggingface_hub"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        if {"-h", "--help"} & {*sys.argv} and hasattr(signal, "SIGPIPE"):
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # so that `--help | head` ends without a word
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        try:
            yield
        except (InputError, OSError) as error:  # an OSError names its file: too long a name, no permission, a full disk
            sys.exit(_failed(" ".join(str(error).split()), 2))
        except KeyboardInterrupt:
            sys.exit(_failed("interrupted", 128 + signal.SIGINT))
        finally:
            for stream in said:
                stream.flush()


class _Lasting:
    """A text stream that drops what it is given once nobody reads it, in place of an error."""

    def __init__(self, stream: Any):
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._without_readers():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._without_readers():
            self._stream.flush()

    @contextmanager
    def _without_readers(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):  # a pipe whose reader has ended, a terminal that was closed
                raise
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())  # what the stream still holds goes there too
            os.close(nowhere)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return shown(super().format(record))


def _failed(message: str, code: int) -> int:
    print(shown(f"error: {message}"), file=sys.stderr)
    return code
