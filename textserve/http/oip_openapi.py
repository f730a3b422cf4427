"""The part of the OpenAPI document that describes :mod:`textserve.http.oip`, as far as bodies are JSON."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from textserve import oip
from textserve.application import Application
from textserve.errors import UnknownModel
from textserve.http.router import Description
from textserve.http.schemas import REFERENCE, REFUSALS, TEXT, get, operation, refusal, resolved, schemas

EXTENSION = (
    "Tensors may follow the JSON, in the request and in the answer, as Triton's binary tensor data extension says; the "
    "header Inference-Header-Content-Length is then the length of the JSON."
)
# The model with whatever version is served, and with the one that is named.
MODEL_PATHS = ("/v2/models/{model}", "/v2/models/{model}/versions/{version}")
OBJECT: dict[str, Any] = {"type": "object"}
NUMBER: dict[str, Any] = {"type": "integer", "minimum": 1}


class OpenInferenceError(BaseModel):
    """The body of an error."""

    error: str


def describe(application: Application) -> Description:
    """Paths and schemas of the Open Inference Protocol."""
    paths = {"/v2": _get(application, "What serves, and with which extensions", unknown=False)}
    for name in ("live", "ready"):
        paths[f"/v2/health/{name}"] = _health(f"Whether the server is {name}")
    for prefix in MODEL_PATHS:
        parameters = _parameters(application, prefix)
        paths[prefix] = _get(application, "Tensors of the model") | parameters
        paths[f"{prefix}/ready"] = _ready(application) | parameters
        paths[f"{prefix}/infer"] = {"post": _infer(application)} | parameters
    return Description(paths, {**schemas(OpenInferenceError), **_schemas(application)})


def _parameters(application: Application, path: str) -> dict[str, Any]:
    values = {"model": application.classifier.spec.name, "version": oip.version(application)}
    return {
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "enum": [value]}}
            for name, value in values.items()
            if f"{{{name}}}" in path
        ]
    }


def _get(application: Application, summary: str, *, unknown: bool = True) -> dict[str, Any]:
    described = get(application, summary, {"application/json": {"schema": OBJECT}}, OpenInferenceError)
    if unknown:
        described["responses"]["404"] = refusal([UnknownModel], OpenInferenceError)
    return {"get": described}


def _health(summary: str) -> dict[str, Any]:
    answer = {"application/json": {"schema": OBJECT}}
    responses = {"200": {"description": "Yes.", "content": answer}, "503": {"description": "No.", "content": answer}}
    return {"get": {"summary": summary, "security": [], "responses": responses}}


def _ready(application: Application) -> dict[str, Any]:
    described = _get(application, "Whether the model is ready")
    described["get"]["responses"]["503"] = {"description": "No.", "content": {"application/json": {"schema": OBJECT}}}
    return described


def _infer(application: Application) -> dict[str, Any]:
    described = operation(
        application,
        "Classify the texts of a tensor",
        request={"$ref": REFERENCE.format(model="InferRequest")},
        answer={"$ref": REFERENCE.format(model="InferResponse")},
        error=OpenInferenceError,
        refusals=[*REFUSALS, UnknownModel],
    )
    described["description"] = EXTENSION
    described["responses"]["200"]["content"]["application/octet-stream"] = {}
    return described


def _schemas(application: Application) -> dict[str, Any]:
    texts = application.settings.max_texts
    count = {**NUMBER, "maximum": texts}
    columns = {"type": "array", "items": TEXT, "minItems": 1, "maxItems": 1}
    tensor = {
        "type": "object",
        "required": ["name", "shape", "datatype", "data"],
        "properties": {
            "name": {"const": oip.INPUT},
            "shape": {
                "description": "[N] or [N, 1], for N texts.",
                "oneOf": [
                    {"type": "array", "items": count, "minItems": 1, "maxItems": 1},
                    {"type": "array", "prefixItems": [count, {"const": 1}], "minItems": 2, "maxItems": 2},
                ],
            },
            "datatype": {"const": "BYTES"},
            "parameters": {"type": ["object", "null"]},
            "data": {"type": "array", "items": {"oneOf": [TEXT, columns]}, "minItems": 1, "maxItems": texts},
        },
    }
    names = [one.name for one in oip.model_outputs(application)]
    output = {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"enum": names},
            "parameters": {
                "type": ["object", "null"],
                "properties": {
                    "classification": {"type": ["integer", "null"], "minimum": 1},
                    "binary_data": {"type": "boolean"},
                },
            },
        },
    }
    request = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": ["string", "null"], "description": "Given back."},
            "parameters": {
                "type": ["object", "null"],
                # Not as a property: whoever tries what is described would try a microsecond, and be answered too late.
                "description": "Besides these timeout, whole microseconds from 0, none.",
                "properties": {
                    "truncate": {"type": "boolean", "default": True},
                    "binary_data_output": {"type": "boolean", "default": False},
                },
            },
            "inputs": {"type": "array", "items": tensor, "minItems": 1, "maxItems": 1},
            "outputs": {"type": ["array", "null"], "items": output, "description": "What is asked for; everything."},
        },
    }
    answer = {
        "type": "object",
        "required": ["model_name", "model_version", "outputs"],
        "properties": {
            "id": {"type": "string"},
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "outputs": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name", "datatype", "shape"],
                    "properties": {
                        "name": {"enum": names},
                        "datatype": {"enum": ["BYTES", "FP32", "INT32", "BOOL"]},
                        "shape": {"type": "array", "items": NUMBER},
                        "data": {"type": "array"},
                        "parameters": OBJECT,
                    },
                },
            },
        },
    }
    return {"InferRequest": resolved(request), "InferResponse": resolved(answer)}
