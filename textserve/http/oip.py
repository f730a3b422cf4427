"""The Open Inference Protocol over HTTP: everything under ``/v2``.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md, with Triton's
binary tensor data extension,
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md: a body begins with
JSON, whose length is the header ``Inference-Header-Content-Length``; the data of tensors that are not in it follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from textserve import oip
from textserve.application import Application
from textserve.errors import InvalidRequest
from textserve.http import oip_openapi
from textserve.http.body import MAX_DIGITS
from textserve.http.compression import compress
from textserve.http.formats import message_body, messages, read_for
from textserve.http.oip_openapi import MODEL_PATHS, of_model
from textserve.http.router import Describe, Handler, HttpProtocol, Request, Response, Route, dump
from textserve.oip import InferRequest, InputTensor
from textserve.spec import ModelSpec

PREFIX = "/v2"
TITLE = "Open Inference Protocol"
HEADER_LENGTH = b"inference-header-content-length"
PROBLEMS = messages("is missing", "must be an object", list_type="must be a list", dict_type="must be an object")


def _length(header: bytes, body: int) -> int:
    if not header.isdigit() or len(header) > MAX_DIGITS or int(header) > body:
        raise InvalidRequest(
            f"must be the length of the JSON, at most the body's {body} bytes", where="Inference-Header-Content-Length"
        )
    return int(header)


def _columns(request: InferRequest, count: int, binary: bytes) -> list[list[str]]:
    """The ``count`` elements of each input, from the JSON or from the bytes after it."""
    sizes = [tensor.parameters.get("binary_data_size") for tensor in request.inputs]
    last = max((index for index, size in enumerate(sizes) if size is not None), default=None)
    if binary and last is None:
        raise InvalidRequest(f"has {len(binary)} bytes after the JSON, and no input has binary_data_size", where="body")
    columns = []
    for index, (tensor, size) in enumerate(zip(request.inputs, sizes, strict=True)):
        where = f"inputs[{index}]"
        if size is None:
            columns.append(_flat(tensor, f"{where}.data"))
            continue
        if tensor.data is not None:
            raise InvalidRequest("must be left out, since binary_data_size is given", where=f"{where}.data")
        # The JSON is followed by the data of the inputs, one after the other.
        if type(size) is not int or not (0 <= size <= len(binary) if index != last else size == len(binary)):
            follows = "the JSON" if index == 0 or sizes[0] is None else "the data of inputs[0]"
            raise InvalidRequest(
                f"must be {len(binary)}, the number of bytes after {follows}"
                if index == last
                else f"must be at most {len(binary)}, the number of bytes after the JSON",
                where=f"{where}.parameters.binary_data_size",
            )
        key = f".{tensor.name}" if len(sizes) > 1 else ""
        columns.append(oip.decode(oip.split(binary[:size], count, where), key))
        binary = binary[size:]
    return columns


def _flat(tensor: InputTensor, where: str) -> list[str]:
    """The texts of a flat tensor, or of a nested one of shape ``[N, 1]``."""
    if tensor.data is None:
        message = "is missing; send the texts, or binary_data_size and the texts after the JSON"
        raise InvalidRequest(message, where=where)
    texts: list[str] = []
    for index, element in enumerate(tensor.data):
        text = element[0] if isinstance(element, list) and len(element) == 1 else element
        if not isinstance(text, str):
            raise InvalidRequest("must be a string, or a list of one string", where=f"{where}[{index}]")
        texts.append(text)
    return texts


def _binary_flags(content: InferRequest, spec: ModelSpec) -> list[bool]:
    """For each requested output, whether its data follows the JSON of the response."""
    default = oip.flag(content.parameters, "binary_data_output", default=False)
    return [
        oip.flag(output.parameters, "binary_data", default=default, where=f"outputs[{index}].parameters")
        for index, output in enumerate(content.requested(spec))
    ]


def _outputs(tensors: Sequence[oip.Tensor], flags: Sequence[bool]) -> tuple[list[dict[str, Any]], bytes]:
    """The outputs in the JSON of the response, and the binary data that follows the JSON."""
    outputs: list[dict[str, Any]] = []
    binary: list[bytes] = []
    for tensor, is_binary in zip(tensors, flags, strict=True):
        output: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
        if is_binary:
            binary.append(oip.raw(tensor))
            output["parameters"] = {"binary_data_size": len(binary[-1])}
        else:
            output["data"] = tensor.data
        outputs.append(output)
    return outputs, b"".join(binary)


async def _infer(application: Application, request: Request) -> Response:
    header = request.headers.get(HEADER_LENGTH)
    size = len(request.body) if header is None else _length(header, len(request.body))
    spec = application.classifier.spec
    content = read_for(application, InferRequest, request.body[:size], PROBLEMS)
    count = oip.text_count(content, application.max_texts, oip.inputs(spec))
    columns = _columns(content, count, request.body[size:])
    flags = _binary_flags(content, spec)
    tensors, classified = await oip.infer(application, content, *columns)
    outputs, binary = _outputs(tensors, flags)
    answer = {
        "model_name": spec.name,
        "model_version": oip.version(application),
        "outputs": outputs,
    }
    if content.id is not None:
        answer["id"] = content.id
    head = dump(answer)
    body, headers = compress(head + binary, request.headers.get(b"accept-encoding", b""))
    if not binary:
        return Response(body, headers=headers, classified=classified)
    headers.append((HEADER_LENGTH, str(len(head)).encode()))
    return Response(body, content_type=b"application/octet-stream", headers=headers, classified=classified)


async def _server_metadata(application: Application, request: Request) -> Response:
    return Response(dump(oip.SERVER_METADATA), counted=False)


async def _live(application: Application, request: Request) -> Response:
    return Response(dump({"live": application.alive}), status=200 if application.alive else 503, counted=False)


async def _ready(application: Application, request: Request) -> Response:
    ready = application.available
    name = {"name": request.parameters["model"]} if "model" in request.parameters else {}
    return Response(dump({**name, "ready": ready}), status=200 if ready else 503, counted=False)


async def _model_metadata(application: Application, request: Request) -> Response:
    return Response(dump(oip.model_metadata(application)), counted=False)


def _model_routes(method: str, suffix: str, handler: Handler, describe: Describe) -> list[Route]:
    """The routes of the model for one method and suffix: without and with its version in the path."""

    async def checked(application: Application, request: Request) -> Response:
        oip.check_model(application, request.parameters["model"], request.parameters.get("version", ""))
        return await handler(application, request)

    return [Route(method, path + suffix, checked, of_model(describe, path)) for path in MODEL_PATHS]


OIP = HttpProtocol(
    "oip",
    [
        Route("GET", PREFIX, _server_metadata, oip_openapi.server_metadata),
        *_model_routes("GET", "", _model_metadata, oip_openapi.model_metadata),
        *_model_routes("GET", "/ready", _ready, oip_openapi.model_ready),
        *_model_routes("POST", "/infer", _infer, oip_openapi.infer),
    ],
    message_body,
    prefix=PREFIX,
    schemas=oip_openapi.schemas,
    title=TITLE,
)
# Operators request these routes without an API key.
OIP_HEALTH = HttpProtocol(
    "oip",
    [
        Route("GET", f"{PREFIX}/health/live", _live, partial(oip_openapi.health, "Whether the server is live")),
        Route("GET", f"{PREFIX}/health/ready", _ready, partial(oip_openapi.health, "Whether the server is ready")),
    ],
    message_body,
    open=True,
    title=TITLE,
)
