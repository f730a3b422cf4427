"""``GET /ui``: the UI, which calls ``/classify`` and ``/explain`` from the browser.

Its files in ``textserve/ui`` are served as they are: there is no build step, and nothing is loaded from another site,
which the Content-Security-Policy enforces. They need no API key. If the service requires one, so does
``/ui/model.json``, the description of the model, and the UI prompts for the key.
"""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import FileResponse
from starlette.staticfiles import StaticFiles

import textserve
from textserve.application import Application
from textserve.errors import NotFound
from textserve.http.formats import error_body
from textserve.http.router import HttpProtocol, Request, Response, Route, dump
from textserve.spec import GoldenText, ModelSpec

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


def description(application: Application) -> dict[str, Any]:
    """What the UI shows of the model, and the limits within which it splits a file into requests."""
    spec, settings = application.classifier.spec, application.settings
    several = spec.problem_type == "multi_label_classification"
    labels = [
        {"label": label.label, "tone": label.tone, "threshold": threshold if several else None}
        for label, threshold in zip(spec.labels, spec.thresholds, strict=True)
    ]
    return {
        "model": spec.name,
        "description": spec.description,
        "problem_type": spec.problem_type,
        "activation": spec.activation,
        "input": spec.input,
        "labels": labels,
        "examples": _examples(spec),
        "max_texts": application.max_texts,
        "max_characters": settings.max_characters,
        "max_body_bytes": settings.max_body_bytes,
    }


def _examples(spec: ModelSpec) -> list[dict[str, str]]:
    """The first golden text, and the last golden text with another answer."""

    def answer(golden: GoldenText) -> object:
        return golden.label, golden.labels and sorted(golden.labels), golden.score

    first, *others = spec.golden
    second = next((golden for golden in reversed(others) if answer(golden) != answer(first)), others[-1])
    return [golden.model_dump(include={"text", "text_pair"}, exclude_none=True) for golden in (first, second)]


async def _model(application: Application, request: Request) -> Response:
    described = description(application)
    return Response(dump(described), headers=HEADERS, counted=False)


async def _redirect(application: Application, request: Request) -> Response:
    # Relative, so that it works behind a proxy that adds a prefix.
    return Response(b"", 308, headers=[(b"location", f"..{PATH}".encode())], counted=False)


UI = HttpProtocol(
    "ui",
    [
        Route("GET", PATH, _file),
        Route("GET", f"{PATH}/", _redirect),
        Route("GET", f"{PATH}/{{file:path}}", _file),
    ],
    error_body,
    open=True,
)
# It needs a key: labels and golden texts belong to the model, not to the page.
UI_MODEL = HttpProtocol("ui", [Route("GET", f"{PATH}/model.json", _model)], error_body)
