"""Describes the routes of :mod:`textserve.http.oip` in the OpenAPI document, with bodies that are only JSON."""

from __future__ import annotations

from typing import Any

from textserve import oip
from textserve.application import Application
from textserve.errors import UnknownModel
from textserve.http.formats import MessageResponse
from textserve.http.router import Describe
from textserve.http.schemas import POSITIVE, STRING, TEXT, array, get, post, refusal, resolved
from textserve.http.schemas import schemas as model_schemas

EXTENSION = (
    "Tensors may follow the JSON, in the request and in the answer, as Triton's binary tensor data extension says; the "
    "header Inference-Header-Content-Length is then the length of the JSON."
)
# The paths of a model: without and with its version.
MODEL_PATHS = ("/v2/models/{model}", "/v2/models/{model}/versions/{version}")
OBJECT: dict[str, Any] = {"type": "object"}
ANY_JSON = {"application/json": {"schema": OBJECT}}
YES = {"description": "Yes.", "content": ANY_JSON}
NO = {"description": "No.", "content": ANY_JSON}


server_metadata = get("Name, version and extensions of the server", ANY_JSON, MessageResponse)
model_metadata = get("Tensors of the model", ANY_JSON, MessageResponse)


def model_ready(application: Application) -> dict[str, Any]:
    """``GET`` of a model's readiness."""
    described = get("Whether the model is ready", ANY_JSON, MessageResponse)(application)
    described["responses"]["503"] = NO
    return described


def health(summary: str, application: Application) -> dict[str, Any]:
    """``GET`` of the server's liveness or readiness."""
    return {"summary": summary, "security": [], "responses": {"200": YES, "503": NO}}


def infer(application: Application) -> dict[str, Any]:
    """``POST`` of an inference."""
    summary = "Classify the texts of a tensor"
    described = post(summary, request="InferRequest", answer="InferResponse", error=MessageResponse)(application)
    described["description"] = EXTENSION
    described["responses"]["200"]["content"]["application/octet-stream"] = {}
    return described


def of_model(describe: Describe, path: str) -> Describe:
    """The description of a route below ``path``, which is one of :data:`MODEL_PATHS`."""

    def described(application: Application) -> dict[str, Any]:
        operation = describe(application)
        operation["responses"]["404"] = refusal([UnknownModel], MessageResponse)
        values = {"model": application.classifier.spec.name, "version": oip.version(application)}
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "enum": [value]}}
            for name, value in values.items()
            if f"{{{name}}}" in path
        ]
        return operation

    return described


def schemas(application: Application) -> dict[str, Any]:
    """The schemas of requests, responses and errors, by name."""
    max_texts, spec = application.max_texts, application.classifier.spec
    count = {**POSITIVE, "maximum": max_texts}
    outputs = oip.OUTPUTS[spec.problem_type]
    name = {"enum": list(outputs)}
    inputs = oip.inputs(spec)
    tensor = _object(
        ["name", "shape", "datatype", "data"],
        name={"enum": list(inputs)},
        shape={
            "description": "[N] or [N, 1], for N texts.",
            "oneOf": [
                array(count, 1),
                {"type": "array", "prefixItems": [count, {"const": 1}], "minItems": 2, "maxItems": 2},
            ],
        },
        datatype={"const": "BYTES"},
        parameters={"type": ["object", "null"]},
        data=array({"oneOf": [TEXT, array(TEXT, 1)]}, max_texts),
    )
    classification = {"type": ["integer", "null"], "minimum": 1}
    output_parameters = _object([], classification=classification, binary_data={"type": "boolean"})
    output = _object(["name"], name=name, parameters=_or_null(output_parameters))
    parameters = _object(
        [], truncate={"type": "boolean", "default": True}, binary_data_output={"type": "boolean", "default": False}
    )
    # Not a property: a test generated from the document would send a few microseconds, and time out.
    parameters["description"] = "There is also timeout, in whole microseconds; 0 is no timeout."
    request = _object(
        ["inputs"],
        id={"type": ["string", "null"], "description": "Returned in the answer."},
        parameters=_or_null(parameters),
        inputs={**array(tensor, len(inputs)), "minItems": len(inputs)},
        outputs={"type": ["array", "null"], "items": output, "description": "The requested outputs; by default all."},
    )
    answer_tensor = _object(
        ["name", "datatype", "shape"],
        name=name,
        datatype={"enum": sorted({"BYTES", *outputs.values()})},
        shape={"type": "array", "items": POSITIVE},
        data={"type": "array"},
        parameters=OBJECT,
    )
    answer = _object(
        ["model_name", "model_version", "outputs"],
        id=STRING,
        model_name=STRING,
        model_version=STRING,
        outputs={"type": "array", "items": answer_tensor},
    )
    return {**model_schemas(MessageResponse), "InferRequest": resolved(request), "InferResponse": resolved(answer)}


def _object(required: list[str], **properties: dict[str, Any]) -> dict[str, Any]:
    names = {"required": required} if required else {}
    return {"type": "object", **names, "properties": properties}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "type": [schema["type"], "null"]}
