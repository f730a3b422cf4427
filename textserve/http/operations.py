"""The routes for operators: health and metrics, which BentoML has too, and the paths that only BentoML serves."""

from __future__ import annotations

from typing import Any

from textserve import __version__
from textserve.application import Application
from textserve.http.formats import error_body
from textserve.http.router import Handler, HttpProtocol, Request, Response, Route
from textserve.metrics import exposition

TEXT = {"text/plain": {"schema": {"type": "string"}}}
OK = {"200": {"description": "Yes.", "content": TEXT}}
VERSION = {"200": {"description": "The version.", "content": TEXT}}
METRICS = {"200": {"description": "All metrics.", "content": TEXT}}
NOT_READY = {
    "503": {
        "description": "No: the model fails its golden texts, the service is shutting down, or a part of it has failed."
    }
}
NOT_ALIVE = {"503": {"description": "No: the process has not recovered, and ends."}}


async def _metrics(application: Application, request: Request) -> Response:
    content_type = b"text/plain; version=0.0.4; charset=utf-8"
    return Response(exposition(application.metrics_registry), content_type=content_type, counted=False)


async def _version(application: Application, request: Request) -> Response:
    return Response(__version__.encode(), content_type=b"text/plain", counted=False)


async def _ready(application: Application, request: Request) -> Response:
    return _health(application.available)


async def _alive(application: Application, request: Request) -> Response:
    return _health(application.alive)


def _health(healthy: bool) -> Response:
    return Response(b"", 200 if healthy else 503, b"text/plain", counted=False)


def _open(path: str, summary: str, responses: dict[str, Any], handler: Handler) -> Route:
    operation = {"summary": summary, "security": [], "responses": responses}
    return Route("GET", path, handler, lambda application: operation)


OPERATIONS = HttpProtocol(
    "operations",
    [
        *(_open(path, "Whether the process is alive", {**OK, **NOT_ALIVE}, _alive) for path in ("/livez", "/healthz")),
        *(
            _open(path, "Whether the service is ready for requests", {**OK, **NOT_READY}, _ready)
            for path in ("/readyz", "/health", "/ping")
        ),
        _open("/version", "Version of this service", VERSION, _version),
        _open("/metrics", "Metrics for Prometheus", METRICS, _metrics),
    ],
    error_body,
    open=True,
    title="Operations",
)
BENTOML = HttpProtocol(
    "bentoml", [Route("GET", "/schema.json", None), Route("GET", "/static_content/{file:path}", None)], error_body
)
