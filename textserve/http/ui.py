"""``GET /ui``: the UI, which calls ``/classify`` and ``/explain`` from the browser.

Its files in ``textserve/ui`` are served as they are: there is no build step, and nothing is loaded from another site,
which the Content-Security-Policy enforces. They need no API key; the UI prompts for one when the service requires it.
"""

from __future__ import annotations

import mimetypes
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.responses import FileResponse
from starlette.staticfiles import StaticFiles

import textserve
from textserve.application import Application
from textserve.errors import NotFound
from textserve.http.formats import error_body
from textserve.http.router import HttpProtocol, Request, Response, Route, dump

PATH = "/ui"
FILES = Path(textserve.__file__).with_name("ui")
STATIC = StaticFiles(directory=FILES)
mimetypes.add_type("text/javascript", ".js")  # the system may know it by an older name

# A script in a text, a file name or a response is neither run nor sent anywhere.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    # File names do not change from version to version: a browser may keep them, but has to revalidate.
    (b"cache-control", b"no-cache"),
]


async def _file(application: Application, request: Request) -> Response:
    scope = {"type": "http", "method": request.method, "headers": list(request.headers.items())}
    try:
        found = await STATIC.get_response(request.parameters.get("file", "index.html"), scope)
    except HTTPException:
        raise NotFound("is not a file of the UI", where="path") from None
    content = Path(found.path).read_bytes() if isinstance(found, FileResponse) else b""
    headers = [*HEADERS, (b"etag", found.headers["etag"].encode())]
    return Response(content, found.status_code, found.headers.get("content-type", "").encode(), headers, counted=False)


async def _limits(application: Application, request: Request) -> Response:
    """The limits by which the UI splits a file into requests."""
    settings = application.settings
    limits = {
        "max_texts": settings.max_texts,
        "max_characters": settings.max_characters,
        "max_body_bytes": settings.max_body_bytes,
    }
    return Response(dump(limits), headers=HEADERS, counted=False)


async def _redirect(application: Application, request: Request) -> Response:
    # Relative, so that it works behind a proxy that adds a prefix.
    return Response(b"", 308, headers=[(b"location", f"..{PATH}".encode())], counted=False)


UI = HttpProtocol(
    "ui",
    [
        Route("GET", PATH, _file),
        Route("GET", f"{PATH}/", _redirect),
        Route("GET", f"{PATH}/limits.json", _limits),
        Route("GET", f"{PATH}/{{file:path}}", _file),
    ],
    error_body,
    open=True,
)
