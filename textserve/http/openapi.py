"""What the service says of itself: ``GET /docs.json``, an OpenAPI document of every protocol over HTTP, and ``GET /``.

BentoML generates a document of the one endpoint that ``service.py`` declares, with neither limits nor errors, and its
page asks another site for a script. So both are answered here, before BentoML; the page's own files are BentoML's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from textserve import __version__
from textserve.application import Application
from textserve.http.native import RefusalResponse, refuse
from textserve.http.router import HttpProtocol, Request, Response, dump
from textserve.http.schemas import get, limits

HTML = b"text/html; charset=utf-8"
# Nothing is loaded from another site; Swagger UI sets styles of its own and draws its icons from data.
POLICY = b"default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'"

PAGE = b"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>textserve</title>
<link rel="stylesheet" href="./static_content/swagger-ui.css">
<link rel="stylesheet" href="./static_content/index.css">
<link rel="icon" type="image/png" href="./static_content/favicon-light-32x32.png" sizes="32x32">
</head>
<body>
<div id="swagger-ui"></div>
<script src="./static_content/swagger-ui-bundle.js"></script>
<script src="./static_content/swagger-ui-standalone-preset.js"></script>
<script src="./static_content/swagger-initializer.js"></script>
</body>
</html>
"""


def documentation(protocols: Sequence[HttpProtocol]) -> HttpProtocol:
    """The description of ``protocols``, and of itself, as a protocol."""

    async def document(application: Application, request: Request) -> Response:
        return Response(dump(openapi(application, protocols)), counted=False)

    async def page(application: Application, request: Request) -> Response:
        headers = [(b"content-security-policy", POLICY), (b"x-content-type-options", b"nosniff")]
        return Response(PAGE, content_type=HTML, headers=headers, counted=False)

    return HttpProtocol("documentation", {("GET", "/docs.json"): document, ("GET", "/"): page}, refuse)


def openapi(application: Application, protocols: Sequence[HttpProtocol]) -> dict[str, Any]:
    """The OpenAPI 3.1 document of what ``application`` answers with its settings."""
    paths: dict[str, dict[str, Any]] = _operations(application)
    schemas = limits(application.settings)
    for protocol in protocols:
        if protocol.describe is not None:
            description = protocol.describe(application)
            for path, item in description.paths.items():
                paths.setdefault(path, {}).update(item)
            schemas.update(description.schemas)
            _tag(protocol.name, description.paths)
    components: dict[str, Any] = {"schemas": dict(sorted(schemas.items()))}
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "textserve",
            "version": __version__,
            "description": application.classifier.spec.description,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": dict(sorted(paths.items())),
        "components": components,
    }
    if application.keys:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"key": []}]
    return document


def _operations(application: Application) -> dict[str, dict[str, Any]]:
    """What is asked by whatever runs the service, and the description itself."""
    text = {"text/plain": {"schema": {"type": "string"}}}

    def open_to_all(summary: str, responses: dict[str, Any]) -> dict[str, Any]:
        return {"get": {"summary": summary, "tags": ["operations"], "security": [], "responses": responses}}

    def closed(summary: str, content: dict[str, Any]) -> dict[str, Any]:
        return {"get": {**get(application, summary, content, RefusalResponse), "tags": ["operations"]}}

    ok = {"200": {"description": "Yes.", "content": text}}
    no = {"503": {"description": "No: the model fails its golden texts, or the service is told to stop."}}
    return {
        "/livez": open_to_all("Whether the process is alive", ok),
        "/healthz": open_to_all("Whether the process is alive", ok),
        "/readyz": open_to_all("Whether requests may be sent here", {**ok, **no}),
        "/metrics": open_to_all("Metrics for Prometheus", {"200": {"description": "All of them.", "content": text}}),
        "/docs.json": closed("This document", {"application/json": {"schema": {"type": "object"}}}),
        "/": closed("This document as a page", {"text/html": {"schema": {"type": "string"}}}),
    }


def _tag(name: str, paths: Any) -> None:
    for item in paths.values():
        for method, operation in item.items():
            if method != "parameters":
                operation.setdefault("tags", [name])
