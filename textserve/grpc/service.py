"""The methods of ``inference.GRPCInferenceService``.

Each takes and returns a message's bytes. gRPC's own decoding would answer a message that is none with UNKNOWN, and
write a traceback with a part of it into the log.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import grpc

from textserve import __version__, oip
from textserve.application import Application
from textserve.errors import TextserveError
from textserve.grpc.inference_pb2 import (
    DESCRIPTOR,
    ModelInferRequest,
    ModelMetadataRequest,
    ModelReadyRequest,
    ModelReadyResponse,
    ServerLiveResponse,
    ServerMetadataResponse,
    ServerReadyResponse,
)
from textserve.grpc.messages import model_metadata, parse, read, write
from textserve.grpc.statuses import Metadata, code, metadata
from textserve.runner import Classified
from textserve.telemetry import request_id, server_timing, unexpected

NAME: str = DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
PROTOCOL = "grpc"

Context: TypeAlias = grpc.aio.ServicerContext
Method = Callable[[bytes, Context], Awaitable[bytes]]


class InferenceService:
    """Answers the methods for ``application``; :meth:`handlers` is what a gRPC server is given."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._open = 0

    def handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        """The methods by their names."""
        methods: dict[str, Method] = {
            "ServerLive": _method(self._server_live),
            "ServerReady": _method(self._server_ready),
            "ModelReady": _method(self._model_ready),
            "ServerMetadata": _method(self._server_metadata),
            "ModelMetadata": _method(self._model_metadata),
            "ModelInfer": self._model_infer,
        }
        return {name: grpc.unary_unary_rpc_method_handler(method) for name, method in methods.items()}

    @property
    def open(self) -> int:
        """How many inferences are not answered yet."""
        return self._open

    # As over HTTP, whoever asks whether the service is alive and ready needs no key.

    def _server_live(self, body: bytes, given: Metadata) -> bytes:
        return bytes(ServerLiveResponse(live=True).SerializeToString())

    def _server_ready(self, body: bytes, given: Metadata) -> bytes:
        return bytes(ServerReadyResponse(ready=self._application.available).SerializeToString())

    def _model_ready(self, body: bytes, given: Metadata) -> bytes:
        self._check_key(given)
        asked = parse(ModelReadyRequest, body)
        oip.check_model(self._application, asked.name, asked.version)
        return bytes(ModelReadyResponse(ready=self._application.available).SerializeToString())

    def _server_metadata(self, body: bytes, given: Metadata) -> bytes:
        self._check_key(given)
        answer = ServerMetadataResponse(name=oip.SERVER_NAME, version=__version__, extensions=oip.EXTENSIONS)
        return bytes(answer.SerializeToString())

    def _model_metadata(self, body: bytes, given: Metadata) -> bytes:
        self._check_key(given)
        asked = parse(ModelMetadataRequest, body)
        oip.check_model(self._application, asked.name, asked.version)
        return bytes(model_metadata(self._application).SerializeToString())

    async def _model_infer(self, body: bytes, context: Context) -> bytes:
        started, outcome = time.perf_counter(), "ok"
        given: Metadata = context.invocation_metadata()
        identity = ("x-request-id", request_id(_value(given, "x-request-id")).decode())
        self._open += 1
        try:
            self._check_key(given)
            answer, classified = await self._infer(body, context.time_remaining())
            context.set_trailing_metadata((identity, *self._measured(classified)))
            return answer
        except asyncio.CancelledError:
            # By the client, or by gRPC once the client's deadline is over.
            outcome = "deadline_exceeded" if context.time_remaining() == 0 else "cancelled"
            raise
        except Exception as error:
            refusal = _refusal(error, "ModelInfer")
            outcome = refusal.type
            return await _refuse(context, refusal, (identity,))
        finally:
            self._application.requests.observe(PROTOCOL, outcome, time.perf_counter() - started)
            self._open -= 1

    async def _infer(self, body: bytes, remaining: float | None) -> tuple[bytes, Classified]:
        message = parse(ModelInferRequest, body)
        oip.check_model(self._application, message.model_name, message.model_version)
        asked = read(message, self._application.settings.max_texts)
        tensors, classified = await oip.infer(self._application, asked, seconds=remaining)
        return write(self._application, message, tensors), classified

    def _check_key(self, given: Metadata) -> None:
        self._application.keys.check(_value(given, "authorization").decode() or None)

    def _measured(self, classified: Classified) -> Metadata:
        """Where the time went, what was read, and by which model: as HTTP's headers have it."""
        return (
            ("server-timing", server_timing(classified)),
            ("x-compute-tokens", str(classified.tokens)),
            ("x-model-version", self._application.tag),
        )


def _method(answer: Callable[[bytes, Metadata], bytes]) -> Method:
    async def method(body: bytes, context: Context) -> bytes:
        try:
            return answer(body, context.invocation_metadata())
        except Exception as error:
            return await _refuse(context, _refusal(error, answer.__name__), ())

    return method


def _value(given: Metadata, name: str) -> bytes:
    """The first value of ``name`` in a request's metadata, empty if there is none."""
    for key, value in given:
        if key == name:
            return value if isinstance(value, bytes) else value.encode()
    return b""


def _refusal(error: Exception, method: str) -> TextserveError:
    return error if isinstance(error, TextserveError) else unexpected(error, method)


async def _refuse(context: Context, refusal: TextserveError, trailing: Metadata) -> bytes:
    await context.abort(code(refusal), oip.message(refusal), (*trailing, *metadata(refusal)))
    raise AssertionError("abort raises")
