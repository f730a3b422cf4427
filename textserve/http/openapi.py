"""The API docs: ``GET /docs.json``, an OpenAPI document of every route, and ``GET /``, Swagger UI.

BentoML's own document has only the endpoint that ``service.py`` declares, without limits and errors, and its page loads
a script from another site. So the document and the page are served here; the files of Swagger UI are BentoML's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from textserve import __version__
from textserve.application import Application
from textserve.http.formats import ErrorResponse, error_body
from textserve.http.router import Describe, HttpProtocol, Request, Response, Route, dump
from textserve.http.schemas import get, shared

# Nothing from another site; Swagger UI sets inline styles and has icons in data URLs.
POLICY = b"default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'"
HEADERS = [(b"content-security-policy", POLICY), (b"x-content-type-options", b"nosniff")]

PAGE = b"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>textserve API</title>
<link rel="stylesheet" href="./static_content/swagger-ui.css">
<link rel="stylesheet" href="./ui/docs.css">
<link rel="icon" type="image/svg+xml" href="./ui/icon.svg">
</head>
<body>
<div id="swagger-ui"></div>
<script src="./static_content/swagger-ui-bundle.js"></script>
<script src="./ui/docs.js"></script>
</body>
</html>
"""


def documentation(protocols: Sequence[HttpProtocol]) -> HttpProtocol:
    """A protocol that serves the API docs of ``protocols`` and of itself."""

    async def document(application: Application, request: Request) -> Response:
        return Response(dump(openapi(application, [*protocols, itself])), counted=False)

    async def page(application: Application, request: Request) -> Response:
        return Response(PAGE, content_type=b"text/html; charset=utf-8", headers=HEADERS, counted=False)

    def describe(summary: str, media_type: str, kind: str) -> Describe:
        return get(summary, {media_type: {"schema": {"type": kind}}}, ErrorResponse)

    itself = HttpProtocol(
        "documentation",
        [
            Route("GET", "/docs.json", document, describe("This document", "application/json", "object")),
            Route("GET", "/", page, describe("This document as a page", "text/html", "string")),
        ],
        error_body,
        title="Documentation",
    )
    return itself


def openapi(application: Application, protocols: Sequence[HttpProtocol]) -> dict[str, Any]:
    """The OpenAPI 3.1 document of ``protocols``, with the limits and the model of ``application``."""
    paths: dict[str, dict[str, Any]] = {}
    schemas = shared(application)
    for protocol in protocols:
        schemas.update(protocol.schemas(application))
        for route in protocol.routes:
            if route.describe is not None and (operation := route.describe(application)):
                methods, method = paths.setdefault(route.path, {}), route.method.lower()
                operation = {"tags": [protocol.title], **operation}
                methods[method] = _either(methods[method], operation) if method in methods else operation
    titles = dict.fromkeys(protocol.title for protocol in protocols if protocol.title)
    components: dict[str, Any] = {"schemas": dict(sorted(schemas.items()))}
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": f"{application.classifier.spec.name}, served by textserve",
            "version": __version__,
            "description": f"{application.classifier.spec.description} [Try it on a page](./ui)",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": [{"name": title} for title in titles],
        "paths": paths,
        "components": components,
    }
    if application.keys:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"key": []}]
    return document


def _either(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """One operation for two routes that a key of the body tells apart: it has the bodies and answers of both."""
    responses = dict(first["responses"])
    for status, response in second["responses"].items():
        responses[status] = _either_content(responses[status], response) if status in responses else response
    return {
        **first,
        "description": f"Or: {second['summary']}.",
        "requestBody": _either_content(first["requestBody"], second["requestBody"]),
        "responses": responses,
    }


def _either_content(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    schemas = [body["content"]["application/json"]["schema"] for body in (first, second)]
    return {**first, "content": {"application/json": {"schema": {"anyOf": schemas}}}}
