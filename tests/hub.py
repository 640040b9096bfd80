"""A stand-in for the Hugging Face hub: serves folders as repositories, and can break off, stall and refuse."""

import contextlib
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

COMMIT = "a" * 40
_LARGE = 10_000  # bytes; such a file is redirected to another address, as the hub does with its large files


@dataclass
class Hub:
    """Which repositories (owner/name) there are, how files end, and what was sent."""

    url: str
    repositories: dict[str, Path] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    breaks: dict[str, str] = field(default_factory=dict)  # by the end of a file's name: "broken" or "stalled" halfway
    sent: list[str] = field(default_factory=list)  # files whose content was asked for, in this order
    closing: threading.Event = field(default_factory=threading.Event)
    halfway: threading.Event = field(default_factory=threading.Event)  # a stalled file was begun


@contextlib.contextmanager
def serve() -> Iterator[Hub]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.hub = Hub(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server.hub
    finally:
        server.hub.closing.set()
        server.shutdown()
        server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(with_content=False)

    def do_GET(self) -> None:
        self.answer(with_content=True)

    def answer(self, with_content: bool) -> None:
        hub = self.server.hub
        parts = self.path.partition("?")[0].strip("/").split("/")
        is_api = parts[:2] == ["api", "models"]
        parts = parts[2:] if is_api else parts
        repository, rest = "/".join(parts[:2]), parts[2:]
        folder = hub.repositories.get(repository)
        if folder is None:
            self.refuse(401, "RepoNotFound", "Invalid username or password.")
        elif is_api and rest and rest[1] not in ("main", COMMIT):
            self.refuse(404, "RevisionNotFound", f"Invalid rev id: {rest[1]}")
        elif is_api:
            names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
            if rest and rest[0] == "tree":
                entries = [{"type": "file", "path": name, "size": 1, "oid": "b" * 40} for name in names]
                self.send(200, json.dumps(entries).encode(), {"Content-Type": "application/json"})
            else:
                info = {"id": repository, "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]}
                self.send(200, json.dumps(info).encode(), {"Content-Type": "application/json"})
        elif repository in hub.gated:
            reason = f"Access to model {repository} is restricted and you are not in the authorized list."
            self.refuse(403, "GatedRepo", reason)
        elif not (folder / "/".join(rest[2:])).is_file():
            self.refuse(404, "EntryNotFound", "Entry not found")
        else:
            self.send_file(rest[0], repository, "/".join(rest[2:]), folder, with_content)

    def send_file(self, kind: str, repository: str, name: str, folder: Path, with_content: bool) -> None:
        hub, content = self.server.hub, (folder / name).read_bytes()
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
        if kind == "resolve" and len(content) > _LARGE:
            headers |= {"X-Linked-Etag": headers["ETag"], "X-Linked-Size": str(len(content))}
            headers["Location"] = f"{hub.url}/{repository}/cdn/main/{name}"
            self.send(302, b"", headers)
        elif not with_content:
            self.send(200, b"", {**headers, "Content-Length": str(len(content))})
        else:
            hub.sent.append(name)
            end = next((how for suffix, how in hub.breaks.items() if name.endswith(suffix)), None)
            start = int(self.headers.get("Range", "bytes=0-")[6:].partition("-")[0])
            sent = content[start : len(content) // 2] if end else content[start:]
            self.send(206 if start else 200, sent, {**headers, "Content-Length": str(len(content) - start)})
            if end == "stalled":
                hub.halfway.set()
                hub.closing.wait()
            self.close_connection = end is not None

    def refuse(self, status: int, code: str, reason: str) -> None:
        self.send(status, b"", {"X-Error-Code": code, "X-Error-Message": reason})

    def send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        self.wfile.flush()
