"""A span for each gRPC call, a child of the client's span if ``traceparent`` names one.

Names and attributes follow OpenTelemetry's semantic conventions, https://opentelemetry.io/docs/specs/semconv/rpc/grpc.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from opentelemetry.trace import StatusCode

from textserve.grpc.service import NAME, Context, Method
from textserve.tracing import Tracing, server_span

# The status codes that are server errors by the conventions.
FAULTS = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}


class TracedGrpc(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc has no types
    """A span for each call of ``inference.GRPCInferenceService``, but not of health and reflection."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        """Wrap the handler of a call in a span."""
        handler = await continuation(details)
        _, service, method = details.method.split("/")
        if handler is None or service != NAME:
            return handler
        return grpc.stream_unary_rpc_method_handler(self._traced(handler.stream_unary, method))

    def _traced(self, answer: Method, method: str) -> Method:
        attributes = {"rpc.system": "grpc", "rpc.service": NAME, "rpc.method": method}

        async def traced(messages: AsyncIterator[bytes], context: Context) -> bytes:
            sent = context.invocation_metadata()
            with server_span(self._tracing, f"{NAME}/{method}", sent, attributes) as span:
                code = grpc.StatusCode.OK
                try:
                    return await answer(messages, context)
                except asyncio.CancelledError:
                    late = context.time_remaining() == 0
                    code = grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED
                    raise
                except BaseException:
                    code = context.code()
                    raise
                finally:
                    span.set_attribute("rpc.grpc.status_code", code.value[0])
                    if code.name in FAULTS:
                        span.set_status(StatusCode.ERROR)

        return traced
