"""``GET /ui``: a page for people, that asks ``/classify`` and ``/explain`` from the browser.

Its files are in ``textserve/ui`` as they are served: no build step, and nothing is loaded from another site, which
the Content-Security-Policy sees to. They are open where API keys are set; the page asks for a key once it needs one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from textserve.application import Application
from textserve.errors import UnknownModel
from textserve.http.native import refuse
from textserve.http.router import HttpProtocol, Request, Response, dump

PATH = "/ui"
HTML = "index.html"
CONTENT_TYPES = {
    HTML: b"text/html; charset=utf-8",
    "style.css": b"text/css; charset=utf-8",
    "icon.svg": b"image/svg+xml",
    **dict.fromkeys(["app.js", "batch.js", "csv.js", "results.js", "service.js"], b"text/javascript; charset=utf-8"),
}

# Whoever gets a script into a text, a file name or an answer gets it neither run nor sent anywhere.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    # The names of the files stay the same from version to version: a browser may keep them, and asks each time.
    (b"cache-control", b"no-cache"),
]


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of the page, and the entity tag that changes with it."""

    content: bytes
    content_type: bytes
    tag: bytes


@cache
def asset(name: str) -> Asset:
    """The file of that name in ``textserve/ui``."""
    content = (files("textserve") / "ui" / name).read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    return Asset(content, CONTENT_TYPES[name], tag.encode())


async def _file(application: Application, request: Request) -> Response:
    found = asset(HTML if request.path == PATH else request.path.removeprefix(f"{PATH}/"))
    headers = [*HEADERS, (b"etag", found.tag)]
    if _has(found.tag, request.headers.get(b"if-none-match", b"")):
        return Response(b"", 304, found.content_type, headers, counted=False)
    return Response(found.content, 200, found.content_type, headers, counted=False)


def _has(tag: bytes, known: bytes) -> bool:
    """Whether ``If-None-Match`` names the tag (RFC 9110, 13.1.2: a list, compared weakly)."""
    tags = [one.strip().removeprefix(b"W/") for one in known.split(b",")]
    return tag in tags or b"*" in tags


async def _limits(application: Application, request: Request) -> Response:
    """What the page has to know to cut a file into requests that the service takes."""
    settings = application.settings
    limits = {
        "max_texts": settings.max_texts,
        "max_characters": settings.max_characters,
        "max_body_bytes": settings.max_body_bytes,
        "max_explained_words": settings.max_explained_words,
    }
    return Response(dump(limits), headers=HEADERS, counted=False)


async def _below(application: Application, request: Request) -> Response:
    if request.path == f"{PATH}/":
        # Relative, so that it holds behind a proxy that serves all this below a path of its own.
        return Response(b"", 308, headers=[(b"location", f"..{PATH}".encode())], counted=False)
    raise UnknownModel("is not a file of the page", where=PATH)


ROUTES = {
    ("GET", PATH): _file,
    ("GET", f"{PATH}/limits.json"): _limits,
    **{("GET", f"{PATH}/{name}"): _file for name in CONTENT_TYPES if name != HTML},
}
PAGE = HttpProtocol("page", ROUTES, refuse, below=(PATH, _below), open=True)
