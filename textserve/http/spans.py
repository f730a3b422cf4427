"""A span for each HTTP request, a child of the client's own where ``traceparent`` names it.

Names and attributes follow OpenTelemetry's semantic conventions, https://opentelemetry.io/docs/specs/semconv/http. The
path as requested is not an attribute, since clients choose it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from opentelemetry import trace
from opentelemetry.trace import StatusCode

from textserve.http.oip import TEMPLATES
from textserve.http.router import OPEN_PATHS, App, HttpProtocol, Message, Receive, Scope, Send
from textserve.tracing import Tracing, server_span

# What is asked every few seconds by whatever runs the service.
UNTRACED = frozenset((*OPEN_PATHS, "/metrics"))
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"))


class Routes:
    """Finds the route that a path belongs to: of what can be asked, and so of bounded number."""

    def __init__(self, protocols: Sequence[HttpProtocol]) -> None:
        self._paths = {path for protocol in protocols for _, path in protocol.routes}
        self._templates = [(re.compile(re.sub(r"{\w+}", "[^/]+", one)), one) for one in TEMPLATES]

    def find(self, path: str) -> str | None:
        """The route, such as ``/v2/models/{model}/infer``; ``None`` if there is no such path."""
        if path in self._paths:
            return path
        return next((template for pattern, template in self._templates if pattern.fullmatch(path)), None)


class TracedHttp:
    """ASGI middleware: a span for each request but those about the service's health and its metrics."""

    def __init__(self, app: App, tracing: Callable[[], Tracing], protocols: Sequence[HttpProtocol]) -> None:
        """Wrap ``app``, which answers for ``protocols``; ``tracing()`` is asked for once there are requests."""
        self._app = app
        self._tracing = tracing
        self._routes = Routes(protocols)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http" or scope["path"] in UNTRACED:
            await self._app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        attributes = {"http.request.method": method, "url.scheme": scope.get("scheme", "http")}
        name = method if method in METHODS else "HTTP"
        if route := self._routes.find(scope["path"]):
            attributes["http.route"] = route
            name = f"{name} {route}"
        with server_span(self._tracing(), name, scope["headers"], attributes) as span:

            async def observed(message: Message) -> None:
                if message["type"] == "http.response.start":
                    _note_status(span, message["status"])
                await send(message)

            await self._app(scope, receive, observed)


def _note_status(span: trace.Span, status: int) -> None:
    span.set_attribute("http.response.status_code", status)
    if status >= 500:
        span.set_attribute("error.type", str(status))
        span.set_status(StatusCode.ERROR)
