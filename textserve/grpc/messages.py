"""What the protocol's messages say: bytes → what is asked of the model, its tensors → bytes.

The wire format is :file:`inference.proto`. The data of the tensors is in each tensor's ``contents``, or all of it in
``raw_input_contents``, as in Triton's clients; an answer has it where the request had it.
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
    """A message of the class ``kind``.

    Raises:
        InvalidRequest: if ``body`` is none, or has a string that is not UTF-8.
    """
    message = kind()
    try:
        message.ParseFromString(body)  # type: ignore[attr-defined]  # of every message's class
    except DecodeError:
        name = kind.DESCRIPTOR.full_name  # type: ignore[attr-defined]  # likewise
        raise InvalidRequest(f"is not an {name} as inference.proto has it", where="message") from None
    return message


def read(message: ModelInferRequest, most: int) -> oip.InferRequest:
    """What a request asks of the model.

    Args:
        message: the request.
        most: how many texts it may have.

    Raises:
        InvalidRequest: naming the first part that is not as documented.
        TooManyTexts: if it has more than ``most``.
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
            oip.requested_output(one.name, _values(one.parameters), place) for place, one in enumerate(message.outputs)
        ],
        seconds=oip.timeout(parameters),
        truncate=oip.flag(parameters, "truncate", default=True),
    )


def write(application: Application, request: ModelInferRequest, tensors: Sequence[oip.Tensor]) -> bytes:
    """The answer to ``request``."""
    is_raw = len(request.raw_input_contents) > 0
    answer = ModelInferResponse(
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
    return answer.SerializeToString()  # type: ignore[no-any-return]  # protobuf's base class has no types


def model_metadata(application: Application) -> ModelMetadataResponse:
    """The model's name, version, inputs and outputs."""
    return ModelMetadataResponse(
        name=application.classifier.spec.name,
        versions=[oip.version(application)],
        platform=oip.PLATFORM,
        inputs=[_metadata(one) for one in oip.model_inputs()],
        outputs=[_metadata(one) for one in oip.model_outputs(application)],
    )


def _elements(message: ModelInferRequest, count: int) -> list[bytes]:
    """The elements of the one input, as many as its shape says."""
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
        raise InvalidRequest("must not be there beside raw_input_contents", where="inputs[0].contents")
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
