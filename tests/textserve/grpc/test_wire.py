from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from textserve.grpc import wire
from textserve.grpc.inference_pb2 import InferTensorContents, ModelInferRequest
from textserve.grpc.messages import MESSAGES

Tensor = ModelInferRequest.InferInputTensor
Output = ModelInferRequest.InferRequestedOutputTensor


PARAMETERS: Any = {str(number): {} for number in range(3000)}


def encoded(**fields: Any) -> bytes:
    return bytes(ModelInferRequest(**fields).SerializeToString())


@pytest.mark.parametrize(
    "message",
    [
        encoded(outputs=[Output()] * 3000),
        encoded(inputs=[Tensor()] * 3000),
        encoded(raw_input_contents=[b""] * 3000),
        encoded(inputs=[Tensor(contents=InferTensorContents(bytes_contents=[b""] * 3000))]),
        encoded(parameters=PARAMETERS),
        encoded(inputs=[Tensor(parameters=PARAMETERS)]),
        encoded(outputs=[Output(parameters=PARAMETERS)]),
        encoded(inputs=[Tensor(shape=[1] * 3000)]),
        encoded(inputs=[Tensor(contents=InferTensorContents(int_contents=[1] * 3000))]),
        b"\x78\x01" * 3000,
        b"\x3b" * 3000,
    ],
    ids=[
        "outputs",
        "inputs",
        "raw",
        "contents",
        "parameters",
        "input",
        "output",
        "shape",
        "numbers",
        "unknown",
        "groups",
    ],
)
def test_many_fields_are_noticed_wherever_they_are(message: bytes) -> None:
    assert wire.has_more_fields(message, 2000, MESSAGES)


def test_a_request_with_many_texts_has_a_field_for_each() -> None:
    tensor = Tensor(
        name="text", datatype="BYTES", shape=[1000], contents=InferTensorContents(bytes_contents=[b"a"] * 1000)
    )
    message = encoded(model_name="m", inputs=[tensor])
    # Besides 1000 texts: model name and input; in the input its name, data type, shape (two bytes) and contents.
    assert wire.has_more_fields(message, 1007, MESSAGES)
    assert not wire.has_more_fields(message, 1008, MESSAGES)


@given(st.binary(max_size=300))
# A list of numbers whose stated length exceeds the message that contains it.
@example(b"*\x01\x1a\x80\x04")
def test_any_bytes_are_counted_to_an_end(message: bytes) -> None:
    assert not wire.has_more_fields(message, 400, MESSAGES)
