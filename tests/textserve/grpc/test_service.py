from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Iterator

import grpc
import pytest

from tests.grpc_client import Served, request, with_server
from textserve.classifier import Classifier
from textserve.grpc.inference_pb2 import InferParameter, ModelInferRequest

MESSAGES = 8
BYTES = 1_000_000
# A parameter that the service does not know, and ignores.
LONG = {"note": InferParameter(string_param="a" * BYTES)}


@pytest.fixture
def no_garbage_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.mark.usefixtures("no_garbage_collection")
@pytest.mark.parametrize(
    ("message", "code"),
    [
        (request(["a"], parameters=LONG), grpc.StatusCode.OK),
        (request([], parameters=LONG), grpc.StatusCode.INVALID_ARGUMENT),
        (request(["a"], model_name="another", parameters=LONG), grpc.StatusCode.NOT_FOUND),
    ],
    ids=["answered", "rejected", "another model"],
)
def test_a_message_leaves_memory_without_garbage_collection(
    classifier: Classifier, message: ModelInferRequest, code: grpc.StatusCode
) -> None:
    body = message.SerializeToString()

    async def send(served: Served) -> None:
        call = served.call("ModelInfer", body)
        assert await call.code() is code

    async def use(served: Served) -> None:
        await send(served)  # the first message allocates memory that is kept
        tracemalloc.start()
        try:
            for _ in range(MESSAGES):
                await send(served)
            async with asyncio.timeout(60):
                while tracemalloc.get_traced_memory()[0] > BYTES:
                    await asyncio.sleep(0.01)
        finally:
            tracemalloc.stop()

    with_server(classifier, use)
