"""A span for each gRPC call, a child of the client's own where ``traceparent`` names it.

Names and attributes follow OpenTelemetry's semantic conventions, https://opentelemetry.io/docs/specs/semconv/rpc/grpc.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from opentelemetry.trace import StatusCode

from textserve.grpc.service import NAME, Context
from textserve.tracing import Tracing, server_span

# Of the codes of gRPC those that are the server's fault, by the conventions.
FAULTS = (
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
)


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
            with server_span(self._tracing, f"{NAME}/{method}", given, attributes) as span:
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
