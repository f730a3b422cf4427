"""A gRPC server in this process, for an application with a fake runner, and a client of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc

from tests.asgi import ANSWER, FakeRunner, Outcome, fake_application
from tests.server import free_port
from textserve.application import Application
from textserve.classifier import Classifier
from textserve.grpc.inference_pb2 import InferTensorContents, ModelInferRequest, ModelInferResponse
from textserve.grpc.server import GrpcServer

Answer = TypeVar("Answer")

MODEL = "sentiment-pl-en"
SERVICE = "/inference.GRPCInferenceService/"


class Served:
    """A running gRPC server, and a channel to it."""

    def __init__(self, application: Application, runner: FakeRunner, server: GrpcServer, channel: Any) -> None:
        self.application = application
        self.runner = runner
        self.server = server
        self.channel = channel

    def call(self, method: str, body: bytes, **options: Any) -> Any:
        """Call ``method`` with the bytes of a message; awaited, it returns the bytes of the response."""
        return self.channel.unary_unary(SERVICE + method)(body, **options)

    async def infer(self, message: ModelInferRequest, **options: Any) -> ModelInferResponse:
        """The response to an inference."""
        answer: ModelInferResponse = ModelInferResponse.FromString(
            await self.call("ModelInfer", message.SerializeToString(), **options)
        )
        return answer


def with_server(
    classifier: Classifier,
    use: Callable[[Served], Awaitable[Answer]],
    outcome: Outcome | None = ANSWER,
    **settings: Any,
) -> Answer:
    """Run ``use`` with a server, and return its result."""

    async def run() -> Answer:
        runner = FakeRunner(outcome)
        port = free_port()
        configured = {"grpc_host": "127.0.0.1", "grpc_port": port, "stop_delay_seconds": 0, **settings}
        application = fake_application(classifier, runner, configured)
        server = GrpcServer(application)
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                return await use(Served(application, runner, server, channel))
        finally:
            await server.stop()

    return asyncio.run(run())


def request(texts: list[str] | list[bytes], shape: list[int] | None = None, **more: Any) -> ModelInferRequest:
    """A request with its texts in the input's contents."""
    elements = [text.encode() if isinstance(text, str) else text for text in texts]
    tensor = ModelInferRequest.InferInputTensor(
        name="text",
        datatype="BYTES",
        shape=[len(elements)] if shape is None else shape,
        contents=InferTensorContents(bytes_contents=elements),
    )
    return ModelInferRequest(**{"model_name": MODEL, "inputs": [tensor], **more})


def raw_request(raw: bytes, shape: list[int], **more: Any) -> ModelInferRequest:
    """A request with raw data."""
    tensor = ModelInferRequest.InferInputTensor(name="text", datatype="BYTES", shape=shape)
    return ModelInferRequest(**{"model_name": MODEL, "inputs": [tensor], "raw_input_contents": [raw], **more})
