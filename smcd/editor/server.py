"""`smcd edit`: starts the server and opens the page."""

import contextlib
import logging
import secrets
import socket
import threading
import webbrowser
from pathlib import Path
from types import FrameType
from typing import Any

from smcd.config import CustomizeConfig, EditConfig, read_config
from smcd.editor.project import CONFIG
from smcd.runtime.errors import InputError

logger = logging.getLogger(__name__)
_TOKEN_BYTES = 24


def edit(config: EditConfig) -> None:
    """Serve the editor until Ctrl-C.

    Raises an InputError if the folder holds something else than a project, or the port is taken.
    """
    try:
        import uvicorn

        from smcd.editor.app import make_app
    except ImportError as error:
        raise InputError(f"the editor needs {error.name}: pip install 'smcd[app]', or run make edit") from None
    listener = _listen(config.host or "127.0.0.1", config.port)
    host, port = listener.getsockname()[:2]
    token = secrets.token_urlsafe(_TOKEN_BYTES) if config.host else None
    app = make_app(Path(config.folder), config, token)
    _warn_of_other_weights(config)
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    shown = f"[{shown}]" if ":" in shown else shown
    url = f"http://{shown}:{port}/" + (f"?token={token}" if token else "")
    print(
        f"The editor is at {url}\nThe project is saved in {config.folder} as it changes. Ctrl-C ends the editor.",
        flush=True,
    )
    if config.browser:
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()

    class Server(uvicorn.Server):
        def handle_exit(self, number: int, frame: FrameType | None) -> None:
            app.state.editor.close()  # or uvicorn would wait for the pages, which listen to events
            super().handle_exit(number, frame)

    options: dict[str, Any] = {"timeout_graceful_shutdown": 1, "server_header": False, "proxy_headers": False}
    with contextlib.suppress(KeyboardInterrupt):
        Server(uvicorn.Config(app, log_level="warning", **options)).run(sockets=[listener])


def _warn_of_other_weights(config: EditConfig) -> None:
    path = Path(config.folder) / CONFIG
    made_with = read_config(CustomizeConfig, path).trained_ckpt_path if path.is_file() else config.trained_ckpt_path
    if made_with != config.trained_ckpt_path:
        fix = f"to go on with them, add --config {path}"
        logger.warning(f"{path}: the project was made with the weights {made_with}; {fix}")


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        fix = "name another --port, or 0 for a free one"
        raise InputError(f"cannot listen at {host}:{port} ({error.strerror or error}); {fix}") from None
