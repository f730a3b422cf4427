"""The methods of ``inference.GRPCInferenceService``.

Each takes and returns the bytes of a message. gRPC's own decoding would answer an invalid message with UNKNOWN, and log
a traceback that quotes it. Each receives its one message as a stream, which looks the same to clients: so the method
decides when to receive, and for how long. It reads from the context: gRPC's iterator over the messages refers to
itself, and would keep the last message in memory until the next garbage collection.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
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
from textserve.grpc.messages import columns, parse, read, write
from textserve.grpc.receiving import Receiving
from textserve.grpc.statuses import CODES, Metadata, metadata
from textserve.prediction import Classified
from textserve.telemetry import expected, measurements, request_id

NAME: str = DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
PROTOCOL = "grpc"

Context: TypeAlias = grpc.aio.ServicerContext
Method = Callable[[AsyncIterator[bytes], Context], Awaitable[bytes]]


class InferenceService:
    """The methods for ``application``: register :meth:`handlers` with a gRPC server.

    ``open`` is the number of inferences whose response is not sent.
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        self._receiving = Receiving(application.settings.receive_seconds)
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
        return {name: grpc.stream_unary_rpc_method_handler(method) for name, method in methods.items()}

    def _method(self, call: Callable[[bytes], Any], *, needs_key: bool = True) -> Method:
        async def method(messages: AsyncIterator[bytes], context: Context) -> bytes:
            try:
                if needs_key:
                    await authorize(self._application, context)
                return bytes(call(await self._receiving.message(context.read)).SerializeToString())
            except Exception as error:
                return await abort(context, expected(error, call.__name__))

        return method

    def _server_live(self, body: bytes) -> ServerLiveResponse:
        return ServerLiveResponse(live=self._application.alive)

    def _server_ready(self, body: bytes) -> ServerReadyResponse:
        return ServerReadyResponse(ready=self._application.available)

    def _model_ready(self, body: bytes) -> ModelReadyResponse:
        self._check_model(parse(ModelReadyRequest, body, self._application.max_texts))
        return ModelReadyResponse(ready=self._application.available)

    def _server_metadata(self, body: bytes) -> ServerMetadataResponse:
        return ServerMetadataResponse(**oip.SERVER_METADATA)

    def _model_metadata(self, body: bytes) -> ModelMetadataResponse:
        self._check_model(parse(ModelMetadataRequest, body, self._application.max_texts))
        return ModelMetadataResponse(**oip.model_metadata(self._application))

    def _check_model(self, request: ModelReadyRequest | ModelMetadataRequest) -> None:
        oip.check_model(self._application, request.name, request.version)

    async def _model_infer(self, messages: AsyncIterator[bytes], context: Context) -> bytes:
        started, outcome = 0.0, "ok"
        identity = ("x-request-id", request_id(_value(context, "x-request-id")).decode())
        try:
            await authorize(self._application, context)
            # Reject early: the cost of a rejection slows down the requests that are answered.
            self._application.runner.reject_if_overloaded()
            body = await self._receiving.message(context.read)
            started = time.perf_counter()
            self._opened(context)
            response, classified = await self._infer(body, context.time_remaining())
            measured = measurements(self._application.tag, classified)
            context.set_trailing_metadata((identity, *measured.items()))
            return response
        except asyncio.CancelledError:
            # Cancelled by the client, or by gRPC after the client's deadline.
            outcome = "deadline_exceeded" if context.time_remaining() == 0 else "cancelled"
            raise
        except Exception as error:
            problem = expected(error, "ModelInfer", identity[1])
            outcome = problem.type
            return await abort(context, problem, (identity,))
        finally:
            seconds = time.perf_counter() - started if started else 0.0
            self._application.requests.observe(PROTOCOL, outcome, seconds)

    def _opened(self, context: Context) -> None:
        def closed(context: Context) -> None:
            self._application.requests.in_flight -= 1
            self.open -= 1

        self.open += 1
        self._application.requests.in_flight += 1
        context.add_done_callback(closed)  # after the response is sent

    async def _infer(self, body: bytes, remaining: float | None) -> tuple[bytes, Classified]:
        names, max_texts = oip.inputs(self._application.classifier.spec), self._application.max_texts
        message = parse(ModelInferRequest, body, max_texts, len(names))
        oip.check_model(self._application, message.model_name, message.model_version)
        request = read(message)
        data = columns(message, oip.text_count(request, max_texts, names))
        tensors, classified = await oip.infer(self._application, request, *data, seconds=remaining)
        return write(self._application, message, tensors), classified


async def authorize(application: Application, context: Context) -> None:
    """Check the key in the client's metadata; see :meth:`textserve.keys.ApiKeys.authorize`."""
    # A peer is like ipv4:127.0.0.1:40000, and its port differs from connection to connection.
    address = context.peer().rpartition(":")[0]
    await application.keys.authorize(_value(context, "authorization").decode(), address)


def _value(context: Context, name: str) -> bytes:
    """The first value of ``name`` in the client's metadata, or empty."""
    for key, value in context.invocation_metadata():
        if key == name:
            return value if isinstance(value, bytes) else value.encode()
    return b""


async def abort(context: Context, error: TextserveError, trailing: Metadata = ()) -> bytes:
    """End the call with an error's code, message and metadata."""
    try:
        await context.abort(CODES[type(error)], error.full_message, (*trailing, *metadata(error)))
    except grpc.aio.AbortError as aborted:
        context.add_done_callback(partial(_forget, aborted))
        raise
    except grpc.aio.InternalError:
        # gRPC itself has ended the call, as it does if a message is too long or cannot be decompressed.
        raise asyncio.CancelledError from None
    raise AssertionError("abort raises")


def _forget(aborted: grpc.aio.AbortError, context: Context) -> None:
    """Remove the traceback of an aborted call's error, once the call has ended.

    gRPC keeps the error in the state of the call, to which the functions in the traceback refer: through this cycle, a
    rejected message, of some megabytes, would stay in memory until the next garbage collection.
    """
    aborted.__traceback__ = None
