"""The HTTP interface of the editor, by address."""

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from smcd.config import EditConfig, SamplingConfig
from smcd.editor import uploads, video
from smcd.editor.decoder import Decoder
from smcd.editor.examples import EXAMPLES, thumbnail, write_example
from smcd.editor.jobs import Job, Jobs, check_ready
from smcd.editor.messages import MAX_BYTES, body_of, crashed, download, failed, file, json_of, refused
from smcd.editor.opening import make_zip, open_file, project_zip
from smcd.editor.project import Changed, Project, read_contents
from smcd.editor.safety import OnlyOwnPage
from smcd.editor.settings import Settings
from smcd.editor.worker import PREVIEW
from smcd.runtime.errors import InputError
from smcd.runtime.media import MAX_PIXELS

_STATIC = Path(__file__).parent / "static"
_RESULTS = {"video.mp4": "cus_pred.mp4", "video.gif": "cus_pred.gif", "strip.png": "strip.png", PREVIEW: PREVIEW}


class Editor:
    """What the requests act on."""

    def __init__(self, folder: Path, config: EditConfig):
        self.config, self.decode = config, Decoder()
        self.project = Project(folder, config, uploads.own_image)
        self.video = self.project.folder / video.FOLDER
        self.jobs = Jobs(self.project, config, self.notify)
        self._listeners: set[asyncio.Queue[str | None]] = set()

    def notify(self, kind: str, content: dict[str, Any]) -> None:
        """Tell every open page of an event."""
        for queue in self._listeners:
            queue.put_nowait(f"event: {kind}\ndata: {json.dumps(content)}\n\n")

    def close(self) -> None:
        """End the streams of events."""
        for queue in self._listeners:
            queue.put_nowait(None)

    def state(self) -> dict[str, Any]:
        facts = {"name": self.config.trained_ckpt_path, "trained_frames": SamplingConfig().video_length}
        return self.project.state() | {
            "model": facts | self.jobs.model,
            "examples": list(EXAMPLES),
            "limits": {"bytes": MAX_BYTES, "pixels": MAX_PIXELS},
            "video": video.read_facts(self.video),
        }

    def changed(self) -> JSONResponse:
        """The answer to a request that has changed the project, which the other pages hear of too."""
        self.notify("project", {"revision": self.project.revision})
        return JSONResponse(self.state())

    def job(self, request: Request) -> Job:
        """The job that the address names."""
        job = self.jobs.jobs.get(request.path_params["id"])
        if job is None:
            raise HTTPException(404, "there is no such job any more")
        return job

    async def get_project(self, request: Request) -> Response:
        return JSONResponse(self.state())

    async def put_project(self, request: Request) -> Response:
        content = await json_of(request)
        try:
            self.project.update(content.get("revision"), content.get("objects"), content.get("settings"))
        except Changed:
            return JSONResponse(self.state(), 409)
        self.notify("project", {"revision": self.project.revision})
        return JSONResponse({"revision": self.project.revision})

    async def get_image(self, request: Request) -> Response:
        if self.project.image is None:
            raise HTTPException(404, "there is no image yet")
        return FileResponse(self.project.image.path)

    async def post_image(self, request: Request) -> Response:
        data = await body_of(request)
        with uploads.received(self.project.folder, data) as uploaded:
            self.project.set_image(await self.decode(uploads.check_image, uploaded))
        return self.changed()

    async def post_open(self, request: Request) -> Response:
        name = request.query_params.get("name", "file")
        size = self.project.image.size if self.project.image else None
        with uploads.received(self.project.folder, await body_of(request)) as uploaded:
            self.project.replace(await self.decode(open_file, uploaded, name, size, self.project.settings))
        return self.changed()

    async def get_zip(self, request: Request) -> Response:
        data = await run_in_threadpool(project_zip, self.project.folder, self.project.settings, self.config)
        return download(data, "project.zip")

    async def get_thumbnail(self, request: Request) -> Response:
        return Response(await self.decode(thumbnail, _example(request)), media_type="image/png")

    async def post_example(self, request: Request) -> Response:
        name = _example(request)
        with uploads.new_folder_inside(self.project.folder) as folder:
            self.project.replace(await self.decode(write_example, name, folder, self.project.settings))
        return self.changed()

    async def post_video(self, request: Request) -> Response:
        name = request.query_params.get("name", "video")
        with uploads.received(self.project.folder, await body_of(request)) as uploaded:
            return JSONResponse(await self.decode(video.extract, uploaded, name, self.video))

    async def get_video_frame(self, request: Request) -> Response:
        return file(video.frame_file(self.video, request.path_params["number"]))

    async def post_track(self, request: Request) -> Response:
        content, facts = await json_of(request), video.read_facts(self.video)
        if facts is None:
            raise InputError("there is no video yet: open one")
        size = self.project.image.size if self.project.image else None
        task = video.track_task(content, facts, self.video, self.project.settings.num_frames, size)
        return JSONResponse(asdict(self.jobs.submit_track(task)))

    async def get_jobs(self, request: Request) -> Response:
        return JSONResponse({"jobs": self.jobs.listed()})

    async def post_jobs(self, request: Request) -> Response:
        seeds = (await json_of(request)).get("seeds")
        if not isinstance(seeds, list) or not 0 < len(seeds) <= 64 or not all(type(seed) is int for seed in seeds):
            raise InputError("seeds should be a list of 1 to 64 whole numbers")
        check_ready(self.project, seeds)
        return JSONResponse({"jobs": [asdict(job) for job in self.jobs.submit(seeds)]})

    async def delete_job(self, request: Request) -> Response:
        self.jobs.remove(self.job(request))
        return JSONResponse({"jobs": self.jobs.listed()})

    async def restore_job(self, request: Request) -> Response:
        """Bring back what a result was made of."""
        job = self.job(request)
        with uploads.new_folder_inside(self.project.folder) as inside:
            copy = shutil.copytree(self.jobs.folder(job), inside / "result", ignore=shutil.ignore_patterns("*pred*"))
            contents = await self.decode(read_contents, copy, uploads.own_image)
            self.project.replace(contents._replace(settings=Settings(**job.settings)))
        return self.changed()

    async def get_result(self, request: Request) -> Response:
        """A file of a result; only these names lead to one."""
        job, name = self.job(request), request.path_params["name"]
        folder = self.jobs.folder(job)
        if name == "frames.zip":
            frames = {path.name: path for path in sorted((folder / "pred_img").glob("*.png"))}
            return download(await run_in_threadpool(make_zip, frames), f"{job.id}-frames.zip")
        if name == "project.zip":
            data = await run_in_threadpool(project_zip, folder, Settings(**job.settings), self.config)
            return download(data, f"{job.id}.zip")
        return file(folder / _RESULTS.get(name, "nothing"), f"{job.id}-{name}")

    async def get_frame(self, request: Request) -> Response:
        number = request.path_params["number"]
        return file(self.jobs.folder(self.job(request)) / "pred_img" / f"pred_img_{number}.png")

    async def events(self, request: Request) -> Response:
        queue: asyncio.Queue[str | None] = asyncio.Queue()
        self._listeners.add(queue)

        async def stream() -> AsyncIterator[str]:
            try:
                yield "retry: 1000\n\n"
                while (event := await queue.get()) is not None:
                    yield event
            finally:
                self._listeners.discard(queue)

        return StreamingResponse(stream(), media_type="text/event-stream", headers={"Cache-Control": "no-cache"})


def make_app(folder: Path, config: EditConfig, token: str | None = None) -> Starlette:
    """The editor of a project; with a token, only for who has it."""
    editor = Editor(folder, config)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        editor.jobs.start()
        try:
            yield
        finally:
            editor.jobs.stop()
            editor.decode.close()

    routes = [
        Route("/", _page),
        Mount("/static", StaticFiles(directory=_STATIC)),
        Route("/api/project", editor.get_project, methods=["GET"]),
        Route("/api/project", editor.put_project, methods=["PUT"]),
        Route("/api/image", editor.get_image, methods=["GET"]),
        Route("/api/image", editor.post_image, methods=["POST"]),
        Route("/api/open", editor.post_open, methods=["POST"]),
        Route("/api/project.zip", editor.get_zip),
        Route("/api/examples/{name}/image", editor.get_thumbnail),
        Route("/api/examples/{name}", editor.post_example, methods=["POST"]),
        Route("/api/video", editor.post_video, methods=["POST"]),
        Route("/api/video/frames/{number:int}.jpg", editor.get_video_frame),
        Route("/api/track", editor.post_track, methods=["POST"]),
        Route("/api/jobs", editor.get_jobs, methods=["GET"]),
        Route("/api/jobs", editor.post_jobs, methods=["POST"]),
        Route("/api/jobs/{id}", editor.delete_job, methods=["DELETE"]),
        Route("/api/jobs/{id}/restore", editor.restore_job, methods=["POST"]),
        Route("/api/jobs/{id}/frames/{number:int}.png", editor.get_frame),
        Route("/api/jobs/{id}/{name}", editor.get_result),
        Route("/api/events", editor.events),
    ]
    handlers: Any = {InputError: refused, HTTPException: failed, Exception: crashed}
    safety = [Middleware(OnlyOwnPage, token)]
    app = Starlette(routes=routes, middleware=safety, exception_handlers=handlers, lifespan=lifespan)
    app.state.editor = editor
    return app


def _example(request: Request) -> str:
    if request.path_params["name"] not in EXAMPLES:
        raise HTTPException(404, "there is no such example")
    return request.path_params["name"]


async def _page(request: Request) -> Response:
    return FileResponse(_STATIC / "index.html", headers={"Cache-Control": "no-cache"})
