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
from textserve.errors import InvalidRequest
from textserve.grpc.inference_pb2 import (
    InferTensorContents,
    ModelInferRequest,
    ModelInferResponse,
    ModelMetadataResponse,
)

Message = TypeVar("Message")

CONTENTS: Mapping[oip.Datatype, str] = {"FP32": "fp32_contents", "INT32": "int_contents", "BOOL": "bool_contents"}


def parse(kind: type[Message], body: bytes) -> Message:
    """Parse ``body`` as a message of class ``kind``.

    Raises:
        InvalidRequest: if it is not one, or has a string that is not UTF-8.
    """
    message = kind()
    try:
        message.ParseFromString(body)  # type: ignore[attr-defined]  # every message class has it
    except DecodeError:
        name = kind.DESCRIPTOR.full_name  # type: ignore[attr-defined]  # likewise
        raise InvalidRequest(f"is not an {name} as inference.proto has it", where="message") from None
    return message


def read(message: ModelInferRequest, most: int) -> oip.InferRequest:
    """Decode an inference request of at most ``most`` texts.

    Raises:
        InvalidRequest: naming the first invalid part.
        TooManyTexts: if it has more texts.
    """
    oip.check_input_count(len(message.inputs))
    tensor = message.inputs[0]
    oip.check_input(tensor.name, tensor.datatype, tensor.parameters)
    texts = oip.decode(_elements(message, oip.text_count(tensor.shape, most)))
    parameters = _values(message.parameters)
    return oip.InferRequest(
        texts=texts,
        column=len(tensor.shape) == 2,
        outputs=[
            oip.requested_output(output.name, _values(output.parameters), index)
            for index, output in enumerate(message.outputs)
        ],
        seconds=oip.timeout(parameters),
        truncate=oip.flag(parameters, "truncate", default=True),
    )


def write(application: Application, request: ModelInferRequest, tensors: Sequence[oip.Tensor]) -> bytes:
    """The response to ``request``, encoded."""
    is_raw = len(request.raw_input_contents) > 0
    response = ModelInferResponse(
        model_name=application.classifier.spec.name,
        model_version=oip.version(application),
        id=request.id,
        outputs=[
            ModelInferResponse.InferOutputTensor(
                name=tensor.name,
                datatype=tensor.datatype,
                shape=tensor.shape,
                contents=None if is_raw else _contents(tensor),
            )
            for tensor in tensors
        ],
        raw_output_contents=[oip.raw(tensor) for tensor in tensors] if is_raw else None,
    )
    return response.SerializeToString()  # type: ignore[no-any-return]  # protobuf's base class has no types


def model_metadata(application: Application) -> ModelMetadataResponse:
    """The model's name, version, inputs and outputs."""
    return ModelMetadataResponse(
        name=application.classifier.spec.name,
        versions=[oip.version(application)],
        platform=oip.PLATFORM,
        inputs=[_metadata(tensor) for tensor in oip.model_inputs()],
        outputs=[_metadata(tensor) for tensor in oip.model_outputs(application)],
    )


def _elements(message: ModelInferRequest, count: int) -> list[bytes]:
    """The ``count`` elements of the input."""
    contents = message.inputs[0].contents
    if not message.raw_input_contents:
        if others := [field.name for field, _ in contents.ListFields() if field.name != "bytes_contents"]:
            raise InvalidRequest(f"has {others[0]}; texts are bytes_contents", where="inputs[0].contents")
        oip.check_data(count, len(contents.bytes_contents))
        return list(contents.bytes_contents)
    if len(message.raw_input_contents) != 1:
        raise InvalidRequest(
            f"has {len(message.raw_input_contents)} elements; send one for each input", where="raw_input_contents"
        )
    if message.inputs[0].HasField("contents"):
        raise InvalidRequest("cannot be combined with raw_input_contents", where="inputs[0].contents")
    return oip.split(message.raw_input_contents[0], count)


def _values(parameters: Mapping[str, Any]) -> dict[str, object]:
    values: dict[str, object] = {}
    for name, parameter in parameters.items():
        choice = parameter.WhichOneof("parameter_choice")
        values[name] = getattr(parameter, choice) if choice else None
    return values


def _contents(tensor: oip.Tensor) -> InferTensorContents:
    if tensor.datatype == "BYTES":
        return InferTensorContents(bytes_contents=[str(element).encode() for element in tensor.data])
    data: Any = tensor.data
    return InferTensorContents(**{CONTENTS[tensor.datatype]: data})


def _metadata(tensor: oip.TensorMetadata) -> ModelMetadataResponse.TensorMetadata:
    return ModelMetadataResponse.TensorMetadata(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
