"""The Open Inference Protocol (KServe's V2, Triton's own), as far as REST and gRPC share it.

https://github.com/kserve/open-inference-protocol describes it; the classification extension and the request parameter
``timeout`` are Triton's, https://github.com/triton-inference-server/server/tree/main/docs/protocol. Here is what the
model's tensors are called and what they hold; how they travel is in :mod:`textserve.http.oip` and in
:mod:`textserve.grpc`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from textserve.application import Application
from textserve.errors import InvalidRequest, TextserveError, TooManyTexts, UnknownModel
from textserve.runner import Classified, Prediction
from textserve.spec import Meaning

SERVER_NAME = "textserve"
EXTENSIONS = ["binary_tensor_data", "classification"]
# What the specification calls an ONNX file that ONNX Runtime computes.
PLATFORM = "onnx_onnxv1"
INPUT = "text"
# The parameters that Triton's clients set when a tensor is to be found in memory of the same machine.
SHARED_MEMORY = "shared_memory_region"
LENGTH = struct.Struct("<I")
MAX_TIMEOUT_MICROSECONDS = 2**63 - 1

Datatype = Literal["BYTES", "FP32", "INT32", "BOOL"]
CODES: Mapping[Datatype, str] = {"FP32": "f", "INT32": "i", "BOOL": "?"}
OUTPUTS: Mapping[str, Datatype] = {
    "label": "BYTES",
    "score": "FP32",
    "probabilities": "FP32",
    "tokens": "INT32",
    "truncated": "BOOL",
}


@dataclass(frozen=True, slots=True)
class TensorMetadata:
    """A tensor of the model; -1 in ``shape`` stands for any number, of texts."""

    name: str
    datatype: Datatype
    shape: list[int]


@dataclass(frozen=True, slots=True)
class Tensor:
    """An output; ``data`` is flat, row-major: ``str`` for BYTES, ``float``, ``int`` or ``bool`` for the others."""

    name: str
    datatype: Datatype
    shape: list[int]
    data: Sequence[str] | Sequence[float] | Sequence[int] | Sequence[bool]


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """An output that is asked for; ``classes`` is the classification extension's parameter, if it is given."""

    name: str
    classes: int | None = None


EVERYTHING = [RequestedOutput(name) for name in OUTPUTS]


@dataclass(frozen=True, slots=True)
class InferRequest:
    """What is asked of the model, however it came.

    Attributes:
        texts: the elements of the one input.
        column: whether the input's shape was ``[N, 1]``; the outputs then have that shape too.
        outputs: what is asked for; nothing stands for all there is.
        seconds: how long the client waits for the answer, if it said so.
        truncate: whether a text longer than the model reads is truncated, or else refused.
    """

    texts: list[str]
    column: bool
    outputs: Sequence[RequestedOutput]
    seconds: float | None
    truncate: bool


def message(error: TextserveError) -> str:
    """What the protocol says of an error: one sentence, with the part of the request that is meant."""
    return error.message if error.where is None else f"{error.where} {error.message}"


def version(application: Application) -> str:
    """The version of the model that is served, as the model store has it."""
    return application.tag.partition(":")[2]


def check_model(application: Application, name: str, asked_version: str = "") -> None:
    """Accept the name of the model that is served, with its version or with none.

    Raises:
        UnknownModel: if it is another.
    """
    spec, served = application.classifier.spec, version(application)
    if name != spec.name:
        raise UnknownModel(f"is not served here; {spec.name} is", where="model")
    if asked_version not in ("", served):
        raise UnknownModel(f"of {name} is not served here; {served} is", where="version")


def model_inputs() -> list[TensorMetadata]:
    """The model's one input."""
    return [TensorMetadata(INPUT, "BYTES", [-1])]


def model_outputs(application: Application) -> list[TensorMetadata]:
    """The model's outputs: of each text the label, its probability, all probabilities, and what was read."""
    shapes = {"probabilities": [-1, len(application.meanings)]}
    return [TensorMetadata(name, datatype, shapes.get(name, [-1])) for name, datatype in OUTPUTS.items()]


def check_input(name: str, datatype: str, parameters: Mapping[str, object]) -> None:
    """Accept the input by its name and datatype.

    Raises:
        InvalidRequest: if it is not the model's.
    """
    if name != INPUT:
        raise InvalidRequest(f"must be {INPUT!r}, the model's only input", where="inputs[0].name")
    if datatype != "BYTES":
        raise InvalidRequest("must be BYTES, texts in UTF-8", where="inputs[0].datatype")
    if SHARED_MEMORY in parameters:
        raise InvalidRequest("is not supported; send the data with the request", where="inputs[0].parameters")


def check_input_count(count: int) -> None:
    """Accept one input, and no other number of them.

    Raises:
        InvalidRequest: otherwise.
    """
    if count != 1:
        raise InvalidRequest(f"has {count} tensors; send one, named {INPUT!r}", where="inputs")


def text_count(shape: Sequence[int], most: int) -> int:
    """N of the shape ``[N]`` or ``[N, 1]``, known before the data is looked at.

    Args:
        shape: of the input.
        most: how many texts a request may have.

    Raises:
        InvalidRequest: if it has another form.
        TooManyTexts: if N is more than ``most``.
    """
    if len(shape) not in (1, 2) or (len(shape) == 2 and shape[1] != 1) or shape[0] < 0:
        raise InvalidRequest("must be [N] or [N, 1], for N texts", where="inputs[0].shape")
    if shape[0] > most:
        raise TooManyTexts(f"has {shape[0]} texts; send at most {most} in one request", where="inputs[0].shape")
    return shape[0]


def check_data(texts: int, elements: int) -> None:
    """Accept data with as many elements as the shape says.

    Raises:
        InvalidRequest: otherwise.
    """
    if texts != elements:
        raise InvalidRequest(f"says {texts} texts, the data has {elements}", where="inputs[0].shape")


def split(raw: bytes, count: int) -> list[bytes]:
    """The elements of a BYTES tensor, each with its length before it, 4 bytes, little-endian.

    Args:
        raw: the data of the tensor.
        count: how many elements it should have; where there are more, they are not looked for.

    Raises:
        InvalidRequest: if there are more or fewer, or the last one ends too late.
    """
    elements: list[bytes] = []
    place = 0
    while place < len(raw):
        if len(elements) == count:
            raise InvalidRequest(f"says {count} texts, the data has more", where="inputs[0].shape")
        start = place + LENGTH.size
        place = start + LENGTH.unpack_from(raw, place)[0] if start <= len(raw) else len(raw) + 1
        if place > len(raw):
            raise InvalidRequest(
                f"ends within element {len(elements)}; each has its length before it, 4 bytes, little-endian",
                where="inputs[0]",
            )
        elements.append(raw[start:place])
    check_data(count, len(elements))
    return elements


def decode(elements: Sequence[bytes]) -> list[str]:
    """The texts that ``elements`` are.

    Raises:
        InvalidRequest: naming the first that is not UTF-8.
    """
    texts = []
    for place, element in enumerate(elements):
        try:
            texts.append(element.decode())
        except UnicodeDecodeError:
            # Its message would quote what is not UTF-8.
            raise InvalidRequest("is not UTF-8", where=f"texts[{place}]") from None
    return texts


def timeout(parameters: Mapping[str, object]) -> float | None:
    """Seconds of the request's parameter ``timeout``, which has microseconds; ``None`` if it has none, or 0.

    Raises:
        InvalidRequest: if it is no whole number, or below 0.
    """
    value = parameters.get("timeout", 0)
    if type(value) is not int or not 0 <= value <= MAX_TIMEOUT_MICROSECONDS:
        raise InvalidRequest("must be a whole number of microseconds, at least 0", where="parameters.timeout")
    return value / 1e6 or None


def flag(parameters: Mapping[str, object], name: str, *, default: bool, where: str = "parameters") -> bool:
    """A parameter that is true or false.

    Raises:
        InvalidRequest: if it is neither.
    """
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise InvalidRequest("must be true or false", where=f"{where}.{name}")
    return value


def requested_output(name: str, parameters: Mapping[str, object], place: int) -> RequestedOutput:
    """An output that is asked for, with its parameters; ``place`` is where it stands among them.

    Raises:
        InvalidRequest: if a parameter is not as documented.
    """
    where = f"outputs[{place}].parameters"
    if SHARED_MEMORY in parameters:
        raise InvalidRequest("is not supported; the data comes with the answer", where=f"{where}.{SHARED_MEMORY}")
    classes = parameters.get("classification")
    if classes is None:
        return RequestedOutput(name)
    if type(classes) is not int or classes < 1:
        raise InvalidRequest("must be a whole number, at least 1", where=f"{where}.classification")
    return RequestedOutput(name, classes)


async def infer(
    application: Application, request: InferRequest, *, seconds: float | None = None
) -> tuple[list[Tensor], Classified]:
    """Classify the texts; the outputs that are asked for, in the order asked, and what it took.

    Args:
        application: which model, and its limits.
        request: what is asked.
        seconds: how long the client waits by what the request itself does not say, if there is such a limit.

    Raises:
        InvalidRequest: if an output is unknown, asked for twice, or has no classes.
        TextserveError: see :meth:`textserve.application.Application.classify`.
    """
    _check_outputs(request.outputs)
    truncation: Literal["right"] | None = "right" if request.truncate else None
    limits = [limit for limit in (request.seconds, seconds) if limit is not None]
    classified = await application.classify(request.texts, seconds=min(limits, default=None), truncation=truncation)
    meanings = application.meanings
    wanted = request.outputs or EVERYTHING
    tensors = [_tensor(one, classified.predictions, meanings, column=request.column) for one in wanted]
    return tensors, classified


def raw(tensor: Tensor) -> bytes:
    """The data of ``tensor``, row-major and little-endian; each element of BYTES has its length before it."""
    if tensor.datatype == "BYTES":
        elements = [str(element).encode() for element in tensor.data]
        return b"".join(LENGTH.pack(len(element)) + element for element in elements)
    return struct.pack(f"<{len(tensor.data)}{CODES[tensor.datatype]}", *tensor.data)


def _check_outputs(wanted: Sequence[RequestedOutput]) -> None:
    seen: set[str] = set()
    for place, output in enumerate(wanted):
        where = f"outputs[{place}]"
        if output.name not in OUTPUTS:
            raise InvalidRequest(f"is not an output of this model; there are {', '.join(OUTPUTS)}", where=where)
        if output.name in seen:
            raise InvalidRequest("is asked for twice", where=where)
        if output.classes is not None and output.name != "probabilities":
            raise InvalidRequest("has no classes; ask for the classification of probabilities", where=where)
        seen.add(output.name)


def _tensor(
    output: RequestedOutput, predictions: Sequence[Prediction], meanings: Sequence[Meaning], *, column: bool
) -> Tensor:
    texts, name = len(predictions), output.name
    if output.classes is not None:
        classes = min(output.classes, len(meanings))
        named = [text for one in predictions for text in _classes(one, classes)]
        return Tensor(name, "BYTES", [texts, classes], named)
    shape = [texts, 1] if column else [texts]
    data: Sequence[Any]
    if name == "label":
        data = [one.label for one in predictions]
    elif name == "score":
        data = [one.score for one in predictions]
    elif name == "tokens":
        data = [one.tokens for one in predictions]
    elif name == "truncated":
        data = [one.truncated for one in predictions]
    else:
        shape = [texts, len(meanings)]
        data = [value for one in predictions for value in one.probabilities]
    return Tensor(name, OUTPUTS[name], shape, data)


def _classes(prediction: Prediction, count: int) -> list[str]:
    """``value:index:label`` of the most probable, downwards, with six digits, as Triton writes them."""
    return [f"{value:f}:{prediction.labels.index(label)}:{label}" for label, value in prediction.ranked()[:count]]
