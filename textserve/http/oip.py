"""The Open Inference Protocol over HTTP: everything under ``/v2``.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md, with Triton's
binary tensor data extension,
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md: a body is JSON, its
length in the header ``Inference-Header-Content-Length``, and after it the data of the tensors that are not in the JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from pydantic import BaseModel, StrictInt

from textserve import __version__, oip
from textserve.application import Application
from textserve.errors import InvalidRequest, TextserveError
from textserve.http import oip_openapi
from textserve.http.compression import compress
from textserve.http.formats import messages, read
from textserve.http.oip_openapi import MODEL_PATHS
from textserve.http.router import JSON, Handler, HttpProtocol, Request, Response, Route, dump

# An operation of the OpenAPI document, for the path that it is keyword argument of.
Describe = Callable[..., dict[str, Any]]

PREFIX = "/v2"
HEADER_LENGTH = b"inference-header-content-length"
BINARY = b"application/octet-stream"
DATA = "inputs[0].data"
# More digits than any body's length has.
MAX_DIGITS = 10

PROBLEMS = messages("is missing", "must be an object", list_type="must be a list", dict_type="must be an object")

# Some clients write null for what they leave out.
Parameters = dict[str, Any] | None
NONE: Parameters = None


class Input(BaseModel):
    """An input of a request; ``data`` is flat or nested, or missing where it follows the JSON."""

    name: str
    shape: list[StrictInt]
    datatype: str
    parameters: Parameters = NONE
    data: list[Any] | None = None


class Output(BaseModel):
    """An output that a request asks for."""

    name: str
    parameters: Parameters = NONE


class Body(BaseModel):
    """The JSON of a request."""

    id: str | None = None
    parameters: Parameters = NONE
    inputs: list[Input]
    outputs: list[Output] | None = None


def parse(body: bytes, header_length: bytes | None, most: int) -> tuple[oip.InferRequest, Body]:
    """A request as the model understands it, and as it was written.

    Args:
        body: all of it, decompressed.
        header_length: the header ``Inference-Header-Content-Length``, if there is one.
        most: how many texts a request may have.

    Raises:
        InvalidRequest: naming the first part that is not as documented.
        TooManyTexts: if it has more than ``most``.
    """
    size = len(body) if header_length is None else _length(header_length, len(body))
    content = read(Body, body[:size], PROBLEMS)
    oip.check_input_count(len(content.inputs))
    tensor = content.inputs[0]
    oip.check_input(tensor.name, tensor.datatype, tensor.parameters or {})
    texts = _texts(tensor, oip.text_count(tensor.shape, most), body[size:])
    parameters = content.parameters or {}
    request = oip.InferRequest(
        texts=texts,
        column=len(tensor.shape) == 2,
        outputs=[
            oip.requested_output(one.name, one.parameters or {}, place)
            for place, one in enumerate(content.outputs or [])
        ],
        seconds=oip.timeout(parameters),
        truncate=oip.flag(parameters, "truncate", default=True),
    )
    return request, content


def _length(header: bytes, body: int) -> int:
    if not header.isdigit() or len(header) > MAX_DIGITS or int(header) > body:
        raise InvalidRequest(
            f"must be the length of the JSON, at most the body's {body} bytes",
            where="Inference-Header-Content-Length",
        )
    return int(header)


def _texts(tensor: Input, count: int, binary: bytes) -> list[str]:
    """The elements of the input, as many as its shape says, from the JSON or from what follows it."""
    size = (tensor.parameters or {}).get("binary_data_size")
    if size is not None:
        if tensor.data is not None:
            raise InvalidRequest("must not be there beside binary_data_size", where="inputs[0].data")
        if type(size) is not int or size != len(binary):
            raise InvalidRequest(
                f"must be the length of what follows the JSON, {len(binary)} bytes",
                where="inputs[0].parameters.binary_data_size",
            )
        return oip.decode(oip.split(binary, count))
    if binary:
        raise InvalidRequest(f"has {len(binary)} bytes after the JSON, and no input has binary_data_size", where="body")
    if tensor.data is None:
        raise InvalidRequest("is missing; send the texts, or binary_data_size and the texts after the JSON", where=DATA)
    oip.check_data(count, len(tensor.data))
    return _flat(tensor.data)


def _flat(data: Sequence[Any]) -> list[str]:
    """Strings, or lists of one string, as they lie in a tensor of the shape ``[N, 1]``."""
    texts: list[str] = []
    for place, element in enumerate(data):
        text = element[0] if isinstance(element, list) and len(element) == 1 else element
        if not isinstance(text, str):
            raise InvalidRequest("must be a string, or a list of one", where=f"{DATA}[{place}]")
        texts.append(text)
    return texts


def _wants_binary(content: Body) -> Callable[[int], bool]:
    """Whether the output at a place is to follow the JSON of the answer."""
    everything = oip.flag(content.parameters or {}, "binary_data_output", default=False)
    if not content.outputs:
        return lambda place: everything
    flags = [
        oip.flag(one.parameters or {}, "binary_data", default=everything, where=f"outputs[{place}].parameters")
        for place, one in enumerate(content.outputs)
    ]
    return flags.__getitem__


def write(
    application: Application, content: Body, tensors: Sequence[oip.Tensor], is_binary: Callable[[int], bool]
) -> tuple[bytes, int | None]:
    """The body of an answer, and the length of its JSON if something follows that."""
    outputs: list[dict[str, Any]] = []
    binary: list[bytes] = []
    for place, tensor in enumerate(tensors):
        output: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
        if is_binary(place):
            binary.append(oip.raw(tensor))
            output["parameters"] = {"binary_data_size": len(binary[-1])}
        else:
            output["data"] = tensor.data
        outputs.append(output)
    answer: dict[str, Any] = {
        "model_name": application.classifier.spec.name,
        "model_version": oip.version(application),
        "outputs": outputs,
    }
    if content.id is not None:
        answer["id"] = content.id
    header = dump(answer)
    return b"".join((header, *binary)), len(header) if binary else None


async def _infer(application: Application, request: Request) -> Response:
    asked, content = parse(request.body, request.headers.get(HEADER_LENGTH), application.settings.max_texts)
    is_binary = _wants_binary(content)
    tensors, classified = await oip.infer(application, asked)
    body, header_length = write(application, content, tensors, is_binary)
    body, headers = compress(body, request.headers.get(b"accept-encoding", b""))
    content_type = JSON
    if header_length is not None:
        content_type = BINARY
        headers.append((b"inference-header-content-length", str(header_length).encode()))
    return Response(body, content_type=content_type, headers=headers, classified=classified)


async def _server_metadata(application: Application, request: Request) -> Response:
    content = {"name": oip.SERVER_NAME, "version": __version__, "extensions": oip.EXTENSIONS}
    return Response(dump(content), counted=False)


async def _live(application: Application, request: Request) -> Response:
    return Response(dump({"live": True}), counted=False)


async def _ready(application: Application, request: Request) -> Response:
    return _readiness(application, {})


async def _model_ready(application: Application, request: Request) -> Response:
    return _readiness(application, {"name": application.classifier.spec.name})


def _readiness(application: Application, named: Mapping[str, str]) -> Response:
    ready = application.available
    return Response(dump({**named, "ready": ready}), status=200 if ready else 503, counted=False)


async def _model_metadata(application: Application, request: Request) -> Response:
    content = {
        "name": application.classifier.spec.name,
        "versions": [oip.version(application)],
        "platform": oip.PLATFORM,
        "inputs": [asdict(one) for one in oip.model_inputs()],
        "outputs": [asdict(one) for one in oip.model_outputs(application)],
    }
    return Response(dump(content), counted=False)


def error_body(error: TextserveError) -> bytes:
    """The body of an error, as the protocol writes it: one message."""
    return dump({"error": oip.message(error)})


def _model_route(method: str, suffix: str, handler: Handler, describe: Describe) -> list[Route]:
    """A route of the model, without and with its version in the path."""

    async def checked(application: Application, request: Request) -> Response:
        oip.check_model(application, request.parameters["model"], request.parameters.get("version", ""))
        return await handler(application, request)

    return [Route(method, prefix + suffix, checked, partial(describe, path=prefix)) for prefix in MODEL_PATHS]


OIP = HttpProtocol(
    "oip",
    [
        Route("GET", PREFIX, _server_metadata, oip_openapi.server_metadata),
        *_model_route("GET", "", _model_metadata, oip_openapi.model_metadata),
        *_model_route("GET", "/ready", _model_ready, oip_openapi.model_ready),
        *_model_route("POST", "/infer", _infer, oip_openapi.infer),
    ],
    error_body,
    prefix=PREFIX,
    schemas=oip_openapi.schemas,
)
# Operators request these without a key.
OIP_HEALTH = HttpProtocol(
    "oip",
    [
        Route("GET", f"{PREFIX}/health/live", _live, partial(oip_openapi.health, "Whether the server is live")),
        Route("GET", f"{PREFIX}/health/ready", _ready, partial(oip_openapi.health, "Whether the server is ready")),
    ],
    error_body,
    open=True,
)
