"""A project and its server, without the process that animates; test_jobs.py has the whole."""

import io
import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from starlette.testclient import TestClient

from smcd.config import EditConfig
from smcd.editor.app import make_app
from smcd.editor.decoder import Decoder

ADDRESS = "http://127.0.0.1:8765"
WIDTH, HEIGHT = 100, 50
OBJECTS = [
    {
        "phrase": "red car",
        "boxes": {"0": [0, 0, 40, 40], "7": [50, 0, 90, 40]},
        "easing": {"0": "in-out"},
        "color": "#f00",
    },
    {"phrase": "dog", "boxes": {"1": [10, 10, 30, 30], "3": None}, "easing": {}, "color": "#f00", "hidden": True},
]


def png(width: int = WIDTH, height: int = HEIGHT, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    PIL.Image.fromarray(np.full((height, width, 3), 200, np.uint8)).save(stream, kind)
    return stream.getvalue()


@pytest.fixture(scope="session")
def decoder():
    decoder = Decoder()
    yield decoder
    decoder.close()


@pytest.fixture
def folder(tmp_path) -> Path:
    """A project with an image and two objects."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "img.png").write_bytes(png())
    objects = [{key: item[key] for key in ("phrase", "boxes", "easing")} for item in OBJECTS]
    (folder / "objects.json").write_text(json.dumps(objects))
    return folder


@pytest.fixture
def client(folder, decoder) -> TestClient:
    return client_of(folder, decoder)


def client_of(folder: Path, decoder: Decoder, token: str | None = None) -> TestClient:
    app = make_app(folder, EditConfig(), token)
    app.state.editor.decode = decoder
    return TestClient(app, base_url=ADDRESS, raise_server_exceptions=False)


def put(client: TestClient, **changes):
    """Save the project with other objects, settings or revision; settings are changed one by one."""
    state = client.get("/api/project").json()
    settings = state["settings"] | changes.pop("settings", {})
    content = {"revision": state["revision"], "objects": state["objects"], "settings": settings} | changes
    return client.put("/api/project", content=json.dumps(content))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
