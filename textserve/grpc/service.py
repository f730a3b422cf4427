"""The methods of ``inference.GRPCInferenceService``.

Each takes and returns the bytes of a message. gRPC's own decoding would answer an invalid message with UNKNOWN, and log
a traceback that quotes it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import grpc

from textserve import oip
from textserve.application import Application
from textserve.errors import TextserveError
from textserve.grpc.inference_pb2 import (
    DESCRIPTOR,
    ModelInferRequest,
    ModelMetadataRequest,
    ModelMetadataResponse,
    ModelReadyRequest,
    ModelReadyResponse,
    ServerLiveResponse,
    ServerMetadataResponse,
    ServerReadyResponse,
)
from textserve.grpc.messages import parse, read, texts, write
from textserve.grpc.statuses import CODES, Metadata, metadata
from textserve.runner import Classified
from textserve.telemetry import expected, measurements, request_id

NAME: str = DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
PROTOCOL = "grpc"

Context: TypeAlias = grpc.aio.ServicerContext
Method = Callable[[bytes, Context], Awaitable[bytes]]


class InferenceService:
    """The methods for ``application``: register :meth:`handlers` with a gRPC server.

    ``open`` is the number of inferences whose response is not sent.
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        self.open = 0

    def handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        """Handlers by method name."""
        methods: dict[str, Method] = {
            # As over HTTP, liveness and readiness require no key.
            "ServerLive": self._method(self._server_live, needs_key=False),
            "ServerReady": self._method(self._server_ready, needs_key=False),
            "ModelReady": self._method(self._model_ready),
            "ServerMetadata": self._method(self._server_metadata),
            "ModelMetadata": self._method(self._model_metadata),
            "ModelInfer": self._model_infer,
        }
        return {name: grpc.unary_unary_rpc_method_handler(method) for name, method in methods.items()}

    def _method(self, call: Callable[[bytes], Any], *, needs_key: bool = True) -> Method:
        async def method(body: bytes, context: Context) -> bytes:
            try:
                if needs_key:
                    self._check_key(context.invocation_metadata())
                return bytes(call(body).SerializeToString())
            except Exception as error:
                return await _abort(context, expected(error, call.__name__), ())

        return method

    def _server_live(self, body: bytes) -> ServerLiveResponse:
        return ServerLiveResponse(live=True)

    def _server_ready(self, body: bytes) -> ServerReadyResponse:
        return ServerReadyResponse(ready=self._application.available)

    def _model_ready(self, body: bytes) -> ModelReadyResponse:
        self._check_model(parse(ModelReadyRequest, body))
        return ModelReadyResponse(ready=self._application.available)

    def _server_metadata(self, body: bytes) -> ServerMetadataResponse:
        return ServerMetadataResponse(**oip.SERVER_METADATA)

    def _model_metadata(self, body: bytes) -> ModelMetadataResponse:
        self._check_model(parse(ModelMetadataRequest, body))
        return ModelMetadataResponse(**oip.model_metadata(self._application))

    def _check_model(self, request: ModelReadyRequest | ModelMetadataRequest) -> None:
        oip.check_model(self._application, request.name, request.version)

    async def _model_infer(self, body: bytes, context: Context) -> bytes:
        started, outcome = time.perf_counter(), "ok"
        sent: Metadata = context.invocation_metadata()
        identity = ("x-request-id", request_id(_value(sent, "x-request-id")).decode())
        self._opened(context)
        try:
            self._check_key(sent)
            response, classified = await self._infer(body, context.time_remaining())
            measured = measurements(self._application.tag, classified)
            context.set_trailing_metadata((identity, *measured.items()))
            return response
        except asyncio.CancelledError:
            # By the client, or by gRPC after the client's deadline.
            outcome = "deadline_exceeded" if context.time_remaining() == 0 else "cancelled"
            raise
        except Exception as error:
            problem = expected(error, "ModelInfer")
            outcome = problem.type
            return await _abort(context, problem, (identity,))
        finally:
            self._application.requests.observe(PROTOCOL, outcome, time.perf_counter() - started)

    def _opened(self, context: Context) -> None:
        def closed(context: Context) -> None:
            self._application.requests.in_flight.dec()
            self.open -= 1

        self.open += 1
        self._application.requests.in_flight.inc()
        context.add_done_callback(closed)  # after the response is sent

    async def _infer(self, body: bytes, remaining: float | None) -> tuple[bytes, Classified]:
        message = parse(ModelInferRequest, body)
        oip.check_model(self._application, message.model_name, message.model_version)
        request = read(message)
        elements = texts(message, oip.text_count(request, self._application.settings.max_texts))
        tensors, classified = await oip.infer(self._application, request, elements, seconds=remaining)
        return write(self._application, message, tensors), classified

    def _check_key(self, sent: Metadata) -> None:
        self._application.keys.check(_value(sent, "authorization").decode())


def _value(sent: Metadata, name: str) -> bytes:
    """The first value of ``name`` in the metadata, or empty."""
    for key, value in sent:
        if key == name:
            return value if isinstance(value, bytes) else value.encode()
    return b""


async def _abort(context: Context, error: TextserveError, trailing: Metadata) -> bytes:
    await context.abort(CODES[type(error)], error.full_message, (*trailing, *metadata(error)))
    raise AssertionError("abort raises")
