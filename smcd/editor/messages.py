"""Reading requests and making answers; every error is one line of JSON."""

import json
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from smcd.runtime.errors import InputError, first_line

MAX_BYTES = 50 << 20


async def refused(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": " ".join(str(error).split())}, 400)


async def failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code)


async def crashed(request: Request, error: Exception) -> Response:
    """What no check has foreseen; the server goes on, and its terminal says where it was."""
    return JSONResponse({"error": f"the editor cannot do this ({first_line(error)}); its terminal says more"}, 500)


async def body_of(request: Request) -> bytes:
    """What is uploaded. Raises an HTTPException where it is too much."""
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > MAX_BYTES:
            raise HTTPException(413, f"the file is larger than {MAX_BYTES >> 20} MB")
    return bytes(data)


async def json_of(request: Request) -> dict[str, Any]:
    try:
        content = json.loads(await body_of(request))
    except (ValueError, RecursionError):
        raise InputError("the request is not JSON") from None
    if not isinstance(content, dict):
        raise InputError("the request should be a JSON object")
    return content


def file(path: Path, name: str | None = None) -> Response:
    if not path.is_file():
        raise HTTPException(404, "this result is not there")
    return FileResponse(path, headers={"Cache-Control": "no-cache"}, filename=name, content_disposition_type="inline")


def download(data: bytes, name: str) -> Response:
    disposition = f'attachment; filename="{name}"'
    return Response(data, media_type="application/zip", headers={"Content-Disposition": disposition})
