"""The part of the Open Inference Protocol (KServe V2) that REST and gRPC share: requests, tensors and metadata.

Specified in https://github.com/kserve/open-inference-protocol; the classification extension and the request parameter
``timeout`` are Triton's, https://github.com/triton-inference-server/server/tree/main/docs/protocol. The encodings are
in :mod:`textserve.http.oip` and :mod:`textserve.grpc`.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, FailFast, Field, StrictInt

from textserve import __version__
from textserve.application import Application
from textserve.errors import InvalidRequest, TooManyTexts, UnknownModel
from textserve.prediction import Classified, Prediction
from textserve.spec import Input, ModelSpec, ProblemType

EXTENSIONS = ["binary_tensor_data", "classification"]
SERVER_METADATA: Mapping[str, Any] = {"name": "textserve", "version": __version__, "extensions": EXTENSIONS}
# The names of the inputs; only a model of pairs has the second.
INPUTS = ("text", "text_pair")
# The parameter by which Triton's clients pass a tensor in shared memory.
SHARED_MEMORY = "shared_memory_region"
LENGTH = struct.Struct("<I")
MAX_TIMEOUT_MICROSECONDS = 2**63 - 1

Datatype = Literal["BYTES", "FP32", "INT32", "BOOL"]
CODES: Mapping[Datatype, str] = {"FP32": "f", "INT32": "i", "BOOL": "?"}
READING: Mapping[str, Datatype] = {"tokens": "INT32", "truncated": "BOOL"}
# All but the probabilities are attributes of :class:`textserve.prediction.Prediction`.
OUTPUTS: Mapping[ProblemType, Mapping[str, Datatype]] = {
    "single_label_classification": {"label": "BYTES", "score": "FP32", "probabilities": "FP32", **READING},
    "multi_label_classification": {"labels": "BYTES", "probabilities": "FP32", **READING},
    "regression": {"score": "FP32", **READING},
}

# More inputs, outputs or dimensions than any valid request has. Checked before the elements; the first invalid element
# ends the check.
MAX_ELEMENTS = 16
BOUNDED = (Field(max_length=MAX_ELEMENTS), FailFast())
# Some clients send null for missing parameters and outputs.
Parameters = Annotated[dict[str, Any], BeforeValidator(lambda value: {} if value is None else value)]


class InputTensor(BaseModel):
    """An input; ``data`` is flat or nested, or ``None`` if it is not in the JSON."""

    name: str
    shape: Annotated[list[StrictInt], *BOUNDED]
    datatype: str
    parameters: Parameters = {}
    data: list[Any] | None = None


class RequestedOutput(BaseModel):
    """A requested output."""

    name: str
    parameters: Parameters = {}


class InferRequest(BaseModel):
    """An inference request: the JSON of REST, or the same from gRPC."""

    id: str | None = None
    parameters: Parameters = {}
    inputs: Annotated[list[InputTensor], *BOUNDED]
    outputs: Annotated[
        list[RequestedOutput], *BOUNDED, BeforeValidator(lambda value: [] if value is None else value)
    ] = []

    def requested(self, spec: ModelSpec) -> list[RequestedOutput]:
        """The requested outputs, by default all outputs of the model."""
        return self.outputs or [RequestedOutput(name=name) for name in OUTPUTS[spec.problem_type]]


@dataclass(frozen=True, slots=True)
class Tensor:
    """An output tensor; ``data`` is flat, row-major: ``str`` for BYTES, else ``float``, ``int`` or ``bool``."""

    name: str
    datatype: Datatype
    shape: list[int]
    data: Sequence[str] | Sequence[float] | Sequence[int] | Sequence[bool]


def inputs(spec: ModelSpec) -> Sequence[str]:
    """The names of the model's inputs."""
    return INPUTS if spec.input == "pair" else INPUTS[:1]


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


def model_metadata(application: Application) -> dict[str, Any]:
    """The model's name, version, inputs and outputs; -1 in a shape is the variable number of texts."""
    spec = application.classifier.spec
    shapes = {"probabilities": [-1, len(spec.labels)]}
    return {
        "name": spec.name,
        "versions": [version(application)],
        "platform": "onnx_onnxv1",  # the specification's name for an ONNX model on ONNX Runtime
        "inputs": [{"name": name, "datatype": "BYTES", "shape": [-1]} for name in inputs(spec)],
        "outputs": [
            {"name": name, "datatype": datatype, "shape": shapes.get(name, [-1])}
            for name, datatype in OUTPUTS[spec.problem_type].items()
        ],
    }


def text_count(request: InferRequest, limit: int, names: Sequence[str] = INPUTS[:1]) -> int:
    """The number of texts, from the shapes of the request's inputs ``names``, before their data is decoded.

    Raises:
        InvalidRequest: if the name, datatype, parameters, shape or number of inputs is wrong.
        TooManyTexts: if there are more than ``limit`` texts.
    """
    if len(request.inputs) != len(names):
        wanted = f"one, named {names[0]!r}" if len(names) == 1 else f"two, named {names[0]!r} and {names[1]!r}"
        raise InvalidRequest(f"has {len(request.inputs)} tensors; send {wanted}", where="inputs")
    counts = [_count(tensor, f"inputs[{index}]", limit, names) for index, tensor in enumerate(request.inputs)]
    if len({tensor.name for tensor in request.inputs}) != len(names):
        raise InvalidRequest(f"has {request.inputs[0].name!r} twice", where="inputs")
    if counts[-1] != counts[0]:
        raise InvalidRequest(f"says {counts[-1]} texts, inputs[0] has {counts[0]}", where="inputs[1].shape")
    return counts[0]


def _count(tensor: InputTensor, where: str, limit: int, names: Sequence[str]) -> int:
    if tensor.name not in names:
        wanted = f"{names[0]!r}, the model's only input" if len(names) == 1 else f"{names[0]!r} or {names[1]!r}"
        raise InvalidRequest(f"must be {wanted}", where=f"{where}.name")
    if tensor.datatype != "BYTES":
        raise InvalidRequest("must be BYTES, texts in UTF-8", where=f"{where}.datatype")
    if SHARED_MEMORY in tensor.parameters:
        raise InvalidRequest("is not supported; send the data with the request", where=f"{where}.parameters")
    shape = tensor.shape
    if not shape or shape[0] < 0 or shape[1:] not in ([], [1]):
        raise InvalidRequest("must be [N] or [N, 1], for N texts", where=f"{where}.shape")
    if shape[0] > limit:
        raise TooManyTexts(f"has {shape[0]} texts; send at most {limit} in one request", where=f"{where}.shape")
    return shape[0]


def joined(request: InferRequest, columns: Sequence[Sequence[str]]) -> Sequence[Input]:
    """The texts of the request, or for a model of pairs the pairs, from the data of each of its inputs, in order.

    Raises:
        InvalidRequest: if the number of texts in an input's data differs from its shape.
    """
    for index, (tensor, column) in enumerate(zip(request.inputs, columns, strict=True)):
        if len(column) != tensor.shape[0]:
            message = f"says {tensor.shape[0]} texts, the data has {len(column)}"
            raise InvalidRequest(message, where=f"inputs[{index}].shape")
    if len(columns) == 1:
        return columns[0]
    by_name = {tensor.name: column for tensor, column in zip(request.inputs, columns, strict=True)}
    return list(zip(by_name[INPUTS[0]], by_name[INPUTS[1]], strict=True))


def split(raw: bytes, limit: int, where: str = "inputs[0]") -> list[bytes]:
    """The elements of a BYTES tensor ``where``, each prefixed with its length, 4 bytes, little-endian.

    Raises:
        InvalidRequest: if the data ends within an element, or continues after ``limit`` elements.
    """
    elements: list[bytes] = []
    offset = 0
    while offset < len(raw):
        if len(elements) == limit:
            raise InvalidRequest(f"says {limit} texts, the data has more", where=f"{where}.shape")
        start = offset + LENGTH.size
        offset = start + LENGTH.unpack_from(raw, offset)[0] if start <= len(raw) else len(raw) + 1
        if offset > len(raw):
            raise InvalidRequest(
                f"ends within element {len(elements)}; each has its length before it, 4 bytes, little-endian",
                where=where,
            )
        elements.append(raw[start:offset])
    return elements


def decode(elements: Sequence[bytes], key: str = "") -> list[str]:
    """The elements as texts.

    Raises:
        InvalidRequest: if an element is not UTF-8; ``where`` has the index of the first such element, then ``key``.
    """
    texts = []
    for index, element in enumerate(elements):
        try:
            texts.append(element.decode())
        except UnicodeDecodeError:
            # Its message would quote the text.
            raise InvalidRequest("is not UTF-8", where=f"texts[{index}]{key}") from None
    return texts


def flag(parameters: Mapping[str, object], name: str, *, default: bool, where: str = "parameters") -> bool:
    """A boolean parameter.

    Raises:
        InvalidRequest: if it is not a boolean.
    """
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise InvalidRequest("must be true or false", where=f"{where}.{name}")
    return value


async def infer(
    application: Application, request: InferRequest, *columns: Sequence[str], seconds: float | None = None
) -> tuple[list[Tensor], Classified]:
    """Classify the texts of the request, and return the requested outputs in order.

    Args:
        application: the served model.
        request: the request, checked by :func:`text_count`.
        columns: the decoded data of each input, in the order of the request.
        seconds: the transport's time limit; the request's parameter ``timeout`` applies if it is shorter.

    Raises:
        InvalidRequest: if the number of texts in the data differs from the shape, or an output or parameter is invalid.
        TextserveError: see :meth:`textserve.application.Application.classify`.
    """
    texts, spec = joined(request, columns), application.classifier.spec
    outputs = _classes(request.requested(spec), OUTPUTS[spec.problem_type])
    limits = [limit for limit in (_timeout(request.parameters), seconds) if limit is not None]
    truncation: Literal["right"] | None = "right" if flag(request.parameters, "truncate", default=True) else None
    classified = await application.classify(texts, seconds=min(limits, default=None), truncation=truncation)
    predictions, column = classified.predictions, len(request.inputs[0].shape) == 2
    return [_tensor(name, classes, predictions, column=column) for name, classes in outputs.items()], classified


def raw(tensor: Tensor) -> bytes:
    """The data of ``tensor``, row-major and little-endian; each BYTES element is prefixed with its length."""
    if tensor.datatype == "BYTES":
        elements = [str(element).encode() for element in tensor.data]
        return b"".join(LENGTH.pack(len(element)) + element for element in elements)
    return struct.pack(f"<{len(tensor.data)}{CODES[tensor.datatype]}", *tensor.data)


def _timeout(parameters: Mapping[str, object]) -> float | None:
    """The parameter ``timeout``, in microseconds, as seconds; ``None`` if it is missing or 0."""
    value = parameters.get("timeout", 0)
    if type(value) is not int or not 0 <= value <= MAX_TIMEOUT_MICROSECONDS:
        raise InvalidRequest("must be a whole number of microseconds, at least 0", where="parameters.timeout")
    return value / 1e6 or None


def _classes(outputs: Sequence[RequestedOutput], known: Collection[str]) -> dict[str, int | None]:
    """The number of classes that the classification extension requests, by the names of ``outputs``, all ``known``."""
    requested: dict[str, int | None] = {}
    for index, output in enumerate(outputs):
        where = f"outputs[{index}]"
        classes = output.parameters.get("classification")
        if SHARED_MEMORY in output.parameters:
            message = "is not supported; the response contains the data"
            raise InvalidRequest(message, where=f"{where}.parameters.{SHARED_MEMORY}")
        if classes is not None and (type(classes) is not int or classes < 1):
            raise InvalidRequest("must be a whole number, at least 1", where=f"{where}.parameters.classification")
        if output.name not in known:
            raise InvalidRequest(f"is not an output of this model; its outputs are {', '.join(known)}", where=where)
        if output.name in requested:
            raise InvalidRequest("is requested twice", where=where)
        if classes is not None and output.name != "probabilities":
            raise InvalidRequest("has no classes; request the classification of probabilities", where=where)
        requested[output.name] = classes
    return requested


def _tensor(name: str, classes: int | None, predictions: Sequence[Prediction], *, column: bool) -> Tensor:
    texts, spec = len(predictions), predictions[0].spec
    if classes is not None:
        classes = min(classes, len(spec.labels))
        return Tensor(name, "BYTES", [texts, classes], _best(predictions, classes))
    datatype = OUTPUTS[spec.problem_type][name]
    if name == "probabilities":
        data = list(chain.from_iterable(prediction.scores for prediction in predictions))
        return Tensor(name, datatype, [texts, len(spec.labels)], data)
    shape = [texts, 1] if column else [texts]
    values = [getattr(prediction, name) for prediction in predictions]
    if name == "labels":
        # A tensor has the same number of elements for each text, so the element of a text is a list in JSON.
        values = [json.dumps(labels, ensure_ascii=False) for labels in values]
    return Tensor(name, datatype, shape, values)


def _best(predictions: Sequence[Prediction], classes: int) -> list[str]:
    """As in Triton's responses: score with six digits, index and label, the highest score first."""
    labels = predictions[0].spec.label_names
    found: list[str] = []
    for prediction in predictions:
        scores = prediction.scores
        best = sorted(range(len(labels)), key=scores.__getitem__, reverse=True)[:classes]
        found += [f"{scores[index]:f}:{index}:{labels[index]}" for index in best]
    return found
