"""Decodes request messages and encodes responses.

The wire format is :file:`inference.proto`. Tensor data is in each tensor's ``contents`` or, as from Triton's clients,
in ``raw_input_contents``; the response uses the same form as the request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from google.protobuf.message import DecodeError

from textserve import oip
from textserve.application import Application
from textserve.errors import InvalidRequest, TooManyTexts
from textserve.grpc import wire
from textserve.grpc.inference_pb2 import ModelInferRequest, ModelInferResponse

Message = TypeVar("Message")

# Fields of a request by number: parameters; inputs with shape, parameters and contents; outputs with parameters.
MESSAGES: wire.Messages = {4: {}, 5: {3: None, 4: {}, 5: dict.fromkeys(range(1, 8))}, 6: {2: {}}}
OTHER_FIELDS = 1000

CONTENTS: Mapping[oip.Datatype, str] = {"FP32": "fp32_contents", "INT32": "int_contents", "BOOL": "bool_contents"}


def parse(kind: type[Message], body: bytes, max_texts: int, inputs: int = 1) -> Message:
    """Parse ``body`` as a message of class ``kind``.

    Raises:
        TooManyTexts: if it has many more fields than a request with ``max_texts`` texts in each of ``inputs`` inputs.
        InvalidRequest: if it is not such a message, or has a string that is not UTF-8.
    """
    limit = max_texts * inputs + OTHER_FIELDS
    if len(body) > limit and wire.has_more_fields(body, limit, MESSAGES):
        raise TooManyTexts(
            f"has more than {limit} fields; send at most {max_texts} texts in one request", where="message"
        )
    message = kind()
    try:
        message.ParseFromString(body)  # type: ignore[attr-defined]  # every message class has it
    except DecodeError:
        name = kind.DESCRIPTOR.full_name  # type: ignore[attr-defined]  # likewise
        raise InvalidRequest(f"is not a valid {name}; see inference.proto", where="message") from None
    return message


def read(message: ModelInferRequest) -> oip.InferRequest:
    """The request without its data, which :func:`columns` decodes.

    Raises:
        InvalidRequest: if there are more inputs, outputs or dimensions than any valid request has.
    """
    for name, tensors in (("inputs", message.inputs), ("outputs", message.outputs)):
        if len(tensors) > oip.MAX_ELEMENTS:
            raise InvalidRequest(f"has {len(tensors)} tensors; no model has more than {oip.MAX_ELEMENTS}", where=name)
    for index, tensor in enumerate(message.inputs):
        if len(tensor.shape) > oip.MAX_ELEMENTS:
            raise InvalidRequest("must be [N] or [N, 1], for N texts", where=f"inputs[{index}].shape")
    return oip.InferRequest(
        parameters=_values(message.parameters),
        inputs=[
            oip.InputTensor(
                name=tensor.name,
                shape=list(tensor.shape),
                datatype=tensor.datatype,
                parameters=_values(tensor.parameters),
            )
            for tensor in message.inputs
        ],
        outputs=[
            oip.RequestedOutput(name=output.name, parameters=_values(output.parameters)) for output in message.outputs
        ],
    )


def columns(message: ModelInferRequest, count: int) -> list[list[str]]:
    """The data of each input, which has ``count`` texts by its shape.

    Raises:
        InvalidRequest: if the data is not BYTES in one of the two forms, or not UTF-8.
    """
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise InvalidRequest(f"has {len(raw)} elements; send one for each input", where="raw_input_contents")
    found = []
    for index, tensor in enumerate(message.inputs):
        where, key = f"inputs[{index}]", f".{tensor.name}" if len(message.inputs) > 1 else ""
        if raw and tensor.HasField("contents"):
            raise InvalidRequest("cannot be combined with raw_input_contents", where=f"{where}.contents")
        if others := [field.name for field, _ in tensor.contents.ListFields() if field.name != "bytes_contents"]:
            raise InvalidRequest(f"has {others[0]}; texts are bytes_contents", where=f"{where}.contents")
        elements = oip.split(raw[index], count, where) if raw else tensor.contents.bytes_contents
        found.append(oip.decode(elements, key))
    return found


def write(application: Application, request: ModelInferRequest, tensors: Sequence[oip.Tensor]) -> bytes:
    """The response to ``request``, encoded."""
    is_raw = len(request.raw_input_contents) > 0
    response = ModelInferResponse(
        model_name=application.classifier.spec.name,
        model_version=oip.version(application),
        id=request.id,
        outputs=[
            {
                "name": tensor.name,
                "datatype": tensor.datatype,
                "shape": tensor.shape,
                "contents": None if is_raw else _contents(tensor),
            }
            for tensor in tensors
        ],
        raw_output_contents=[oip.raw(tensor) for tensor in tensors] if is_raw else None,
    )
    return response.SerializeToString()  # type: ignore[no-any-return]  # protobuf's base class has no types


def _values(parameters: Mapping[str, Any]) -> dict[str, object]:
    values: dict[str, object] = {}
    for name, parameter in parameters.items():
        choice = parameter.WhichOneof("parameter_choice")
        values[name] = getattr(parameter, choice) if choice else None
    return values


def _contents(tensor: oip.Tensor) -> dict[str, Any]:
    if tensor.datatype == "BYTES":
        return {"bytes_contents": [str(element).encode() for element in tensor.data]}
    return {CONTENTS[tensor.datatype]: tensor.data}
