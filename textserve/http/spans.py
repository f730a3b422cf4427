"""A span for each HTTP request, a child of the client's span if ``traceparent`` names one.

Names and attributes follow OpenTelemetry's semantic conventions, https://opentelemetry.io/docs/specs/semconv/http. The
requested path is not an attribute, since clients choose it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from opentelemetry.trace import StatusCode

from textserve.http.body import Receive
from textserve.http.operations import OPERATIONS
from textserve.http.router import App, HttpProtocol, Message, PathTable, Scope, Send
from textserve.tracing import Tracing, server_span

# Requested every few seconds by the platform that runs the service.
UNTRACED = frozenset(route.path for route in OPERATIONS.routes)
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"))


class TracedHttp:
    """ASGI middleware: a span for each request, except for health and metrics."""

    def __init__(self, app: App, tracing: Callable[[], Tracing], protocols: Sequence[HttpProtocol]) -> None:
        """Wrap ``app``, which serves ``protocols``; ``tracing()`` is called per request."""
        self._app = app
        self._tracing = tracing
        self._paths = PathTable(protocols)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http" or scope["path"] in UNTRACED:
            await self._app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        attributes = {"http.request.method": method, "url.scheme": scope.get("scheme", "http")}
        name = method if method in METHODS else "HTTP"
        methods, _ = self._paths.find(scope["path"])
        if methods:
            _, route = next(iter(methods.values()))[0]
            attributes["http.route"] = route.path
            name = f"{name} {route.path}"
        with server_span(self._tracing(), name, scope["headers"], attributes) as span:

            async def observed(message: Message) -> None:
                if message["type"] == "http.response.start":
                    status = message["status"]
                    span.set_attribute("http.response.status_code", status)
                    if status >= 500:
                        span.set_attribute("error.type", str(status))
                        span.set_status(StatusCode.ERROR)
                await send(message)

            await self._app(scope, receive, observed)
