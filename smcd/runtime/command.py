"""What every command does around its work: log lines, one-line errors, exit codes."""

import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from smcd.runtime.errors import InputError, shown


@contextmanager
def command() -> Iterator[None]:
    """Run a command's work: an InputError or OSError becomes one line and exit code 2.

    Ctrl-C ends it with exit code 130, SIGTERM with 143, both as exceptions, so that half-written files are removed.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(levelname)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
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


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return shown(super().format(record))


def _failed(message: str, code: int) -> int:
    print(shown(f"error: {message}"), file=sys.stderr)
    return code
