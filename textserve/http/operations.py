"""What operators request: metrics, which are ours, and the paths that BentoML serves."""

from __future__ import annotations

from typing import Any

from textserve.application import Application
from textserve.http.formats import error_body
from textserve.http.router import HttpProtocol, Request, Response, Route
from textserve.metrics import exposition

TEXT = {"text/plain": {"schema": {"type": "string"}}}
OK = {"200": {"description": "Yes.", "content": TEXT}}
METRICS = {"200": {"description": "All metrics.", "content": TEXT}}
NOT_READY = {"503": {"description": "No: the model fails its golden texts, or the service is shutting down."}}


async def _metrics(application: Application, request: Request) -> Response:
    content_type = b"text/plain; version=0.0.4; charset=utf-8"
    return Response(exposition(application.metrics_registry), content_type=content_type, counted=False)


async def _health(application: Application, request: Request) -> Response:
    return Response(b"", 200 if application.available else 503, b"text/plain", counted=False)


def _open(path: str, summary: str, responses: dict[str, Any], handler: Any = None) -> Route:
    operation = {"summary": summary, "security": [], "responses": responses}
    return Route("GET", path, handler, lambda application: operation)


OPERATIONS = HttpProtocol(
    "operations",
    [
        _open("/livez", "Whether the process is alive", OK),
        _open("/healthz", "Whether the process is alive", OK),
        _open("/readyz", "Whether the service is ready for requests", {**OK, **NOT_READY}),
        _open("/health", "Whether the service is ready for requests", {**OK, **NOT_READY}, _health),
        _open("/metrics", "Metrics for Prometheus", METRICS, _metrics),
    ],
    error_body,
    open=True,
    title="Operations",
)
BENTOML = HttpProtocol(
    "bentoml", [Route("GET", "/schema.json", None), Route("GET", "/static_content/{file:path}", None)], error_body
)
