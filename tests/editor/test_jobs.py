"""The whole editor as users start it: smcd edit in a process, its worker, and what both leave when they are killed."""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx2
import numpy as np
import PIL.Image
import psutil
import pytest

from smcd.runtime.media import write_video
from tests.editor.conftest import contents, png

FAST = {
    "prompt": "A red circle that is moving right.",
    "num_inference_steps": 3,
    "num_frames": 2,
    "width": 32,
    "height": 32,
}
OBJECTS = [{"phrase": "red circle", "boxes": {"0": [0, 0, 40, 40], "1": [50, 0, 90, 40]}, "easing": {"0": "in"}}]


class Server:
    """`smcd edit`, and how to talk to it."""

    def __init__(self, folder: Path):
        command = [sys.executable, "-m", "smcd.cli", "edit", str(folder), "--no_browser", "--port", "0"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.folder = folder
        self.log = folder.with_suffix(".log")
        with self.log.open("a") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
        self.url = re.search(r"http://\S+", self.process.stdout.readline())[0]
        self.client = httpx2.Client(base_url=self.url, timeout=60)
        self.events: list[tuple[str, dict]] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with contextlib.suppress(httpx2.HTTPError), self.client.stream("GET", "/api/events", timeout=None) as stream:
            kind = ""
            for line in stream.iter_lines():
                if line.startswith("event: "):
                    kind = line[7:]
                elif line.startswith("data: "):
                    self.events.append((kind, json.loads(line[6:])))

    def put(self, **settings) -> None:
        state = self.client.get("/api/project").json()
        content = {"revision": state["revision"], "objects": OBJECTS, "settings": state["settings"] | FAST | settings}
        assert self.client.put("/api/project", json=content).status_code == 200

    def animate(self, *seeds: int) -> list[str]:
        answer = self.client.post("/api/jobs", json={"seeds": seeds})
        assert answer.status_code == 200, answer.text
        return [job["id"] for job in answer.json()["jobs"]]

    def job(self, id: str) -> dict:
        return next(job for job in self.client.get("/api/jobs").json()["jobs"] if job["id"] == id)

    def wait(self, id: str, *states: str) -> dict:
        end = time.monotonic() + 120
        while (job := self.job(id))["state"] not in states:
            assert time.monotonic() < end, job
            time.sleep(0.05)
        return job

    def worker(self) -> psutil.Process:
        """The process that animates; the other child decodes uploads."""
        return max(psutil.Process(self.process.pid).children(), key=lambda child: child.memory_info().rss)

    def stop(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)


@pytest.fixture(scope="module")
def start():
    """Starts a server that does not outlive these tests."""
    servers: list[Server] = []

    def start(folder: Path) -> Server:
        servers.append(Server(folder))
        return servers[-1]

    yield start
    for server in servers:
        server.process.kill()


@pytest.fixture(scope="module")
def server(tmp_path_factory, start):
    folder = tmp_path_factory.mktemp("project")
    (folder / "img.png").write_bytes(png())
    server = start(folder)
    server.put()
    return server


def test_ctrl_c_ends_it_without_a_word_while_a_page_listens(tmp_path, start):
    server = start(tmp_path / "project")
    server.client.get("/api/project")
    time.sleep(0.5)  # so that the page listens
    assert server.stop(signal.SIGINT) == 0
    assert server.log.read_text() == ""


def test_two_seeds_are_made_one_after_the_other_and_told_of(server):
    server.events.clear()
    ids = server.animate(5, 6)
    jobs = [server.wait(id, "done", "failed") for id in ids]
    assert [job["state"] for job in jobs] == ["done", "done"], jobs
    assert [job["seed"] for job in jobs] == [5, 6]
    told = [(job["id"], job["state"], job["step"]) for kind, job in server.events if kind == "job"]
    for id in ids:
        steps = [step for of, state, step in told if of == id and state == "running"]
        assert steps == [0, 1, 2, 3]
    assert told.index((ids[0], "done", 3)) < told.index((ids[1], "running", 0))
    for name, size in (("frames/1.png", (32, 32)), ("preview.png", (64, 32)), ("video.gif", (32, 32))):
        answer = server.client.get(f"/api/jobs/{ids[0]}/{name}")
        with PIL.Image.open(io.BytesIO(answer.content)) as image:
            assert image.size == size
    assert server.client.get(f"/api/jobs/{ids[0]}/video.mp4").headers["content-type"] == "video/mp4"


def test_the_command_makes_bitwise_the_same_video(server, tmp_path):
    server.put(seed=5)
    [id] = server.animate(5)
    server.wait(id, "done")
    config = server.folder / "config.yaml"
    command = [
        sys.executable,
        "-m",
        "smcd.cli",
        "animate",
        "--config",
        str(config),
        "--output_dir",
        str(tmp_path / "out"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, "--format", "gif,mp4,png"], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    own, commands = contents(server.folder / "results" / id), contents(tmp_path / "out")
    same = [name for name in commands if name != "config.yaml"]
    assert len(same) > 6
    assert [own[name] for name in same] == [commands[name] for name in same]


def test_a_job_is_cancelled_while_it_runs_and_while_it_waits(server):
    server.put(num_inference_steps=200)
    running, waiting = server.animate(1, 2)
    server.wait(running, "running")
    for id in (waiting, running):
        assert server.client.delete(f"/api/jobs/{id}").status_code == 200
        assert server.job(id)["state"] == "cancelled"
    server.put()
    [id] = server.animate(3)
    assert server.wait(id, "done", "failed")["state"] == "done"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 40}, "width 40 is not a multiple of 16: the nearest is 32"),
        ({"width": 8192, "height": 8192, "num_frames": 10_000}, "not enough memory: try --dtype float16"),
    ],
    ids=["size", "memory"],
)
def test_what_cannot_be_made_fails_in_one_line_and_the_next_works(server, settings, message):
    server.put(**settings)
    [bad] = server.animate(1)
    assert message in server.wait(bad, "failed", "done")["error"]
    server.put()
    [good] = server.animate(1)
    assert server.wait(good, "done", "failed")["state"] == "done"


def test_a_killed_worker_fails_its_job_in_one_line_and_the_next_works(server):
    server.put(num_inference_steps=400)
    [lost] = server.animate(1)
    server.wait(lost, "running")
    server.put()
    [next_one] = server.animate(2)
    server.worker().kill()
    error = server.wait(lost, "failed")["error"]
    assert "by SIGKILL" in error
    assert "memory" in error
    assert server.wait(next_one, "done", "failed")["state"] == "done"


def test_a_result_is_brought_back_and_deleted(server):
    server.put(seed=11, prompt="A result.")
    [id] = server.animate(12)
    server.wait(id, "done")
    server.put(seed=1, prompt="Another.")
    state = server.client.post(f"/api/jobs/{id}/restore").json()
    assert (state["settings"]["prompt"], state["settings"]["seed"]) == ("A result.", 12)
    assert state["objects"] == OBJECTS
    assert server.client.delete(f"/api/jobs/{id}").status_code == 200
    assert not (server.folder / "results" / id).exists()
    assert server.client.get(f"/api/jobs/{id}/strip.png").status_code == 404


def test_a_path_is_taken_from_a_video(server, tmp_path):
    frames = np.full((12, 48, 96, 3), 40, np.uint8)
    texture = np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    for f, frame in enumerate(frames):
        frame[16:32, 4 + 5 * f : 20 + 5 * f] = texture
    write_video(tmp_path / "a.gif", frames)
    facts = server.client.post("/api/video?name=a.gif", content=(tmp_path / "a.gif").read_bytes()).json()
    assert (facts["frames"], facts["width"], facts["height"]) == (12, 96, 48)
    assert server.client.get("/api/video/frames/11.jpg").status_code == 200
    assert server.client.get("/api/video/frames/12.jpg").status_code == 404
    task = {"boxes": [{"phrase": "patch", "box": [4, 16, 20, 32]}], "use_first_frame": True, "last": 11, "tolerance": 2}
    job = server.client.post("/api/track", json=task).json()
    assert server.wait(job["id"], "done", "failed")["state"] == "done", server.job(job["id"])
    state = server.client.get("/api/project").json()
    assert (state["image"]["width"], state["image"]["height"]) == (96, 48)
    [patch] = [item for item in state["objects"] if item["phrase"] == "patch"]
    assert patch["boxes"]["0"] == [4, 16, 20, 32]
    assert patch["boxes"]["1"] == pytest.approx([59, 16, 75, 32], abs=3)  # two frames: the first and the last


def test_nothing_is_lost_when_the_server_is_killed(tmp_path, start):
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "img.png").write_bytes(png())
    server = start(tmp_path / "project")  # its own: the other tests, which may come later, need theirs
    server.put()
    done = server.animate(33)
    assert server.wait(done[0], "done", "failed")["state"] == "done"
    server.put(prompt="The last words.", num_inference_steps=300)
    [lost] = server.animate(1)
    server.wait(lost, "running")
    assert server.client.get("/api/examples/bouncing star/image").status_code == 200  # by the process that decodes
    children = psutil.Process(server.process.pid).children()
    state = server.client.get("/api/project").json()
    server.stop(signal.SIGKILL)
    assert psutil.wait_procs(children, 20)[1] == []  # all notice that nobody listens any more
    again = start(server.folder)
    found = again.client.get("/api/project").json()
    assert {key: found[key] for key in ("revision", "objects", "settings", "image")} == {
        key: state[key] for key in ("revision", "objects", "settings", "image")
    }
    assert again.job(lost)["state"] == "failed"
    assert {job["id"] for job in again.client.get("/api/jobs").json()["jobs"]} >= {*done, lost}
    assert again.stop(signal.SIGTERM) in (0, -signal.SIGTERM, 128 + signal.SIGTERM)
