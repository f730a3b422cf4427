"""The part of the Open Inference Protocol (KServe V2) that REST and gRPC share: the model's tensors and their contents.

Specified in https://github.com/kserve/open-inference-protocol; the classification extension and the request parameter
``timeout`` are Triton's, https://github.com/triton-inference-server/server/tree/main/docs/protocol. The encodings are
in :mod:`textserve.http.oip` and :mod:`textserve.grpc`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from textserve.application import Application
from textserve.errors import InvalidRequest, TextserveError, TooManyTexts, UnknownModel
from textserve.runner import Classified, Prediction
from textserve.spec import Meaning

SERVER_NAME = "textserve"
EXTENSIONS = ["binary_tensor_data", "classification"]
# The specification's name for an ONNX model on ONNX Runtime.
PLATFORM = "onnx_onnxv1"
INPUT = "text"
# The parameter by which Triton's clients pass a tensor in shared memory.
SHARED_MEMORY = "shared_memory_region"
LENGTH = struct.Struct("<I")
MAX_TIMEOUT_MICROSECONDS = 2**63 - 1

Datatype = Literal["BYTES", "FP32", "INT32", "BOOL"]
CODES: Mapping[Datatype, str] = {"FP32": "f", "INT32": "i", "BOOL": "?"}
# Each is an attribute of :class:`textserve.runner.Prediction`.
OUTPUTS: Mapping[str, Datatype] = {
    "label": "BYTES",
    "score": "FP32",
    "probabilities": "FP32",
    "tokens": "INT32",
    "truncated": "BOOL",
}


@dataclass(frozen=True, slots=True)
class TensorMetadata:
    """A tensor of the model; -1 in ``shape`` is the variable number of texts."""

    name: str
    datatype: Datatype
    shape: list[int]


@dataclass(frozen=True, slots=True)
class Tensor:
    """An output tensor; ``data`` is flat, row-major: ``str`` for BYTES, else ``float``, ``int`` or ``bool``."""

    name: str
    datatype: Datatype
    shape: list[int]
    data: Sequence[str] | Sequence[float] | Sequence[int] | Sequence[bool]


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """A requested output; ``classes`` is the classification extension's parameter."""

    name: str
    classes: int | None = None


EVERYTHING = [RequestedOutput(name) for name in OUTPUTS]


@dataclass(frozen=True, slots=True)
class InferRequest:
    """An inference request, decoded from REST or gRPC.

    Attributes:
        texts: the elements of the input.
        column: whether the input's shape is ``[N, 1]``; outputs then have that shape too.
        outputs: the requested outputs; empty for all of them.
        seconds: the request's time limit.
        truncate: whether texts longer than the model's input are truncated, else rejected.
    """

    texts: list[str]
    column: bool
    outputs: Sequence[RequestedOutput]
    seconds: float | None
    truncate: bool


def message(error: TextserveError) -> str:
    """The protocol's error message: one sentence, with the part of the request at fault."""
    return error.message if error.where is None else f"{error.where} {error.message}"


def version(application: Application) -> str:
    """The version of the served model in the model store."""
    return application.tag.partition(":")[2]


def check_model(application: Application, name: str, requested_version: str = "") -> None:
    """Check the name and, if given, the version of the requested model.

    Raises:
        UnknownModel: if it is not the served model.
    """
    spec, served = application.classifier.spec, version(application)
    if name != spec.name:
        raise UnknownModel(f"is not served here; {spec.name} is", where="model")
    if requested_version not in ("", served):
        raise UnknownModel(f"of {name} is not served here; {served} is", where="version")


def model_inputs() -> list[TensorMetadata]:
    """The model's only input."""
    return [TensorMetadata(INPUT, "BYTES", [-1])]


def model_outputs(application: Application) -> list[TensorMetadata]:
    """The model's outputs for each text: label, score, all probabilities, tokens, and whether it was truncated."""
    shapes = {"probabilities": [-1, len(application.meanings)]}
    return [TensorMetadata(name, datatype, shapes.get(name, [-1])) for name, datatype in OUTPUTS.items()]


def check_input(name: str, datatype: str, parameters: Mapping[str, object]) -> None:
    """Check the input's name, datatype and parameters.

    Raises:
        InvalidRequest: if they are not those of the model's input.
    """
    if name != INPUT:
        raise InvalidRequest(f"must be {INPUT!r}, the model's only input", where="inputs[0].name")
    if datatype != "BYTES":
        raise InvalidRequest("must be BYTES, texts in UTF-8", where="inputs[0].datatype")
    if SHARED_MEMORY in parameters:
        raise InvalidRequest("is not supported; send the data with the request", where="inputs[0].parameters")


def check_input_count(count: int) -> None:
    """Check that there is exactly one input.

    Raises:
        InvalidRequest: otherwise.
    """
    if count != 1:
        raise InvalidRequest(f"has {count} tensors; send one, named {INPUT!r}", where="inputs")


def text_count(shape: Sequence[int], most: int) -> int:
    """N of the input's shape ``[N]`` or ``[N, 1]``, known before the data is decoded.

    Raises:
        InvalidRequest: if the shape has another form.
        TooManyTexts: if N is more than ``most``.
    """
    if len(shape) not in (1, 2) or (len(shape) == 2 and shape[1] != 1) or shape[0] < 0:
        raise InvalidRequest("must be [N] or [N, 1], for N texts", where="inputs[0].shape")
    if shape[0] > most:
        raise TooManyTexts(f"has {shape[0]} texts; send at most {most} in one request", where="inputs[0].shape")
    return shape[0]


def check_data(texts: int, elements: int) -> None:
    """Check that the data has as many elements as the shape has texts.

    Raises:
        InvalidRequest: otherwise.
    """
    if texts != elements:
        raise InvalidRequest(f"says {texts} texts, the data has {elements}", where="inputs[0].shape")


def split(raw: bytes, count: int) -> list[bytes]:
    """The elements of a BYTES tensor, each prefixed with its length, 4 bytes, little-endian.

    Decoding stops after ``count`` elements.

    Raises:
        InvalidRequest: if there are not exactly ``count`` elements, or the data ends within one.
    """
    elements: list[bytes] = []
    offset = 0
    while offset < len(raw):
        if len(elements) == count:
            raise InvalidRequest(f"says {count} texts, the data has more", where="inputs[0].shape")
        start = offset + LENGTH.size
        offset = start + LENGTH.unpack_from(raw, offset)[0] if start <= len(raw) else len(raw) + 1
        if offset > len(raw):
            raise InvalidRequest(
                f"ends within element {len(elements)}; each has its length before it, 4 bytes, little-endian",
                where="inputs[0]",
            )
        elements.append(raw[start:offset])
    check_data(count, len(elements))
    return elements


def decode(elements: Sequence[bytes]) -> list[str]:
    """The elements as texts.

    Raises:
        InvalidRequest: with the index of the first that is not UTF-8.
    """
    texts = []
    for index, element in enumerate(elements):
        try:
            texts.append(element.decode())
        except UnicodeDecodeError:
            # Its message would quote the text.
            raise InvalidRequest("is not UTF-8", where=f"texts[{index}]") from None
    return texts


def timeout(parameters: Mapping[str, object]) -> float | None:
    """The request's parameter ``timeout``, in microseconds, as seconds; ``None`` if it is missing or 0.

    Raises:
        InvalidRequest: if it is not a whole number, or negative.
    """
    value = parameters.get("timeout", 0)
    if type(value) is not int or not 0 <= value <= MAX_TIMEOUT_MICROSECONDS:
        raise InvalidRequest("must be a whole number of microseconds, at least 0", where="parameters.timeout")
    return value / 1e6 or None


def flag(parameters: Mapping[str, object], name: str, *, default: bool, where: str = "parameters") -> bool:
    """A boolean parameter.

    Raises:
        InvalidRequest: if it is not a boolean.
    """
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise InvalidRequest("must be true or false", where=f"{where}.{name}")
    return value


def requested_output(name: str, parameters: Mapping[str, object], index: int) -> RequestedOutput:
    """The requested output at ``index``, with its parameters.

    Raises:
        InvalidRequest: if a parameter is invalid.
    """
    where = f"outputs[{index}].parameters"
    if SHARED_MEMORY in parameters:
        raise InvalidRequest("is not supported; the response contains the data", where=f"{where}.{SHARED_MEMORY}")
    classes = parameters.get("classification")
    if classes is None:
        return RequestedOutput(name)
    if type(classes) is not int or classes < 1:
        raise InvalidRequest("must be a whole number, at least 1", where=f"{where}.classification")
    return RequestedOutput(name, classes)


async def infer(
    application: Application, request: InferRequest, *, seconds: float | None = None
) -> tuple[list[Tensor], Classified]:
    """Classify the texts of ``request``, and return the requested outputs in order.

    Args:
        application: the served model and its limits.
        request: the request.
        seconds: the transport's time limit; the shorter of it and the request's applies.

    Raises:
        InvalidRequest: if an output is unknown, requested twice, or has no classes.
        TextserveError: see :meth:`textserve.application.Application.classify`.
    """
    _check_outputs(request.outputs)
    truncation: Literal["right"] | None = "right" if request.truncate else None
    limits = [limit for limit in (request.seconds, seconds) if limit is not None]
    classified = await application.classify(request.texts, seconds=min(limits, default=None), truncation=truncation)
    meanings = application.meanings
    outputs = request.outputs or EVERYTHING
    tensors = [_tensor(output, classified.predictions, meanings, column=request.column) for output in outputs]
    return tensors, classified


def raw(tensor: Tensor) -> bytes:
    """The data of ``tensor``, row-major and little-endian; each BYTES element is prefixed with its length."""
    if tensor.datatype == "BYTES":
        elements = [str(element).encode() for element in tensor.data]
        return b"".join(LENGTH.pack(len(element)) + element for element in elements)
    return struct.pack(f"<{len(tensor.data)}{CODES[tensor.datatype]}", *tensor.data)


def _check_outputs(outputs: Sequence[RequestedOutput]) -> None:
    seen: set[str] = set()
    for index, output in enumerate(outputs):
        where = f"outputs[{index}]"
        if output.name not in OUTPUTS:
            raise InvalidRequest(f"is not an output of this model; its outputs are {', '.join(OUTPUTS)}", where=where)
        if output.name in seen:
            raise InvalidRequest("is requested twice", where=where)
        if output.classes is not None and output.name != "probabilities":
            raise InvalidRequest("has no classes; request the classification of probabilities", where=where)
        seen.add(output.name)


def _tensor(
    output: RequestedOutput, predictions: Sequence[Prediction], meanings: Sequence[Meaning], *, column: bool
) -> Tensor:
    texts, name = len(predictions), output.name
    if output.classes is not None:
        classes = min(output.classes, len(meanings))
        ranked = [text for prediction in predictions for text in _classes(prediction, classes)]
        return Tensor(name, "BYTES", [texts, classes], ranked)
    if name == "probabilities":
        data = [value for prediction in predictions for value in prediction.probabilities]
        return Tensor(name, OUTPUTS[name], [texts, len(meanings)], data)
    shape = [texts, 1] if column else [texts]
    return Tensor(name, OUTPUTS[name], shape, [getattr(prediction, name) for prediction in predictions])


def _classes(prediction: Prediction, count: int) -> list[str]:
    """``score:index:label`` of the ``count`` highest scores, with six digits, as in Triton's responses."""
    return [f"{value:f}:{prediction.labels.index(label)}:{label}" for label, value in prediction.ranked()[:count]]
