"""A span for each request, over HTTP and over gRPC, below the caller's own where it names one in ``traceparent``.

Names and attributes are those of OpenTelemetry's semantic conventions, https://opentelemetry.io/docs/specs/semconv/http
and https://opentelemetry.io/docs/specs/semconv/rpc/grpc. A path as it was asked is none of them: callers write it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import grpc
from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind, StatusCode

from textserve.grpc.service import NAME, Context
from textserve.http.oip import TEMPLATES
from textserve.http.router import OPEN_PATHS, App, HttpProtocol, Message, Receive, Scope, Send
from textserve.tracing import Tracing

# What is asked every few seconds by whatever runs the service.
UNTRACED = frozenset((*OPEN_PATHS, "/metrics"))
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"))
# Of the codes of gRPC those that are the server's fault, by the conventions.
FAULTS = (
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
)


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
        with _server_span(self._tracing(), name, scope["headers"], attributes) as span:

            async def observed(message: Message) -> None:
                if message["type"] == "http.response.start":
                    _note_status(span, message["status"])
                await send(message)

            await self._app(scope, receive, observed)


class TracedGrpc(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc has no types
    """A span for each call of ``inference.GRPCInferenceService``, and none for health and reflection."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        """As gRPC calls it: the handler of a call, here around its own."""
        handler = await continuation(details)
        _, service, method = details.method.split("/")
        if handler is None or service != NAME:
            return handler
        return grpc.unary_unary_rpc_method_handler(self._traced(handler.unary_unary, method))

    def _traced(
        self, answer: Callable[[bytes, Context], Awaitable[bytes]], method: str
    ) -> Callable[[bytes, Context], Awaitable[bytes]]:
        attributes = {"rpc.system": "grpc", "rpc.service": NAME, "rpc.method": method}

        async def traced(body: bytes, context: Context) -> bytes:
            given = context.invocation_metadata()
            with _server_span(self._tracing, f"{NAME}/{method}", given, attributes) as span:
                code = grpc.StatusCode.OK
                try:
                    return await answer(body, context)
                except asyncio.CancelledError:
                    late = context.time_remaining() == 0
                    code = grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED
                    raise
                except BaseException:
                    code = context.code()
                    raise
                finally:
                    span.set_attribute("rpc.grpc.status_code", code.value[0])
                    if code in FAULTS:
                        span.set_status(StatusCode.ERROR)

        return traced


def _server_span(
    tracing: Tracing, name: str, given: Iterable[tuple[str | bytes, str | bytes]], attributes: dict[str, str]
) -> Any:
    carrier = {_text(key): _text(value) for key, value in given}
    # An exception's message may quote a text: none is recorded.
    return tracing.tracer.start_as_current_span(
        name,
        propagate.extract(carrier),
        SpanKind.SERVER,
        attributes,
        record_exception=False,
        set_status_on_exception=False,
    )


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _note_status(span: trace.Span, status: int) -> None:
    span.set_attribute("http.response.status_code", status)
    if status >= 500:
        span.set_attribute("error.type", str(status))
        span.set_status(StatusCode.ERROR)
