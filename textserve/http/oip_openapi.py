"""The part of the OpenAPI document that describes :mod:`textserve.http.oip`, as far as bodies are JSON."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from textserve import oip
from textserve.application import Application
from textserve.errors import UnknownModel
from textserve.http.schemas import REFERENCE, REFUSALS, TEXT, get, operation, refusal, resolved
from textserve.http.schemas import schemas as model_schemas

EXTENSION = (
    "Tensors may follow the JSON, in the request and in the answer, as Triton's binary tensor data extension says; the "
    "header Inference-Header-Content-Length is then the length of the JSON."
)
# The model with whatever version is served, and with the one that is named.
MODEL_PATHS = ("/v2/models/{model}", "/v2/models/{model}/versions/{version}")
OBJECT: dict[str, Any] = {"type": "object"}
ANY_JSON = {"application/json": {"schema": OBJECT}}
NUMBER: dict[str, Any] = {"type": "integer", "minimum": 1}


class OpenInferenceError(BaseModel):
    """The body of an error."""

    error: str


def server_metadata(application: Application) -> dict[str, Any]:
    """``GET /v2``."""
    return get(application, "What serves, and with which extensions", ANY_JSON, OpenInferenceError)


def model_metadata(application: Application, path: str) -> dict[str, Any]:
    """``GET`` of a model."""
    return _get(application, "Tensors of the model", path)


def model_ready(application: Application, path: str) -> dict[str, Any]:
    """Whether a model is ready."""
    described = _get(application, "Whether the model is ready", path)
    described["responses"]["503"] = {"description": "No.", "content": ANY_JSON}
    return described


def health(summary: str, application: Application) -> dict[str, Any]:
    """Whether the server is live, or ready."""
    responses = {
        status: {"description": text, "content": ANY_JSON} for status, text in (("200", "Yes."), ("503", "No."))
    }
    return {"summary": summary, "security": [], "responses": responses}


def infer(application: Application, path: str) -> dict[str, Any]:
    """Inference by a model."""
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
    return described | _parameters(application, path)


def _get(application: Application, summary: str, path: str) -> dict[str, Any]:
    described = get(application, summary, ANY_JSON, OpenInferenceError)
    described["responses"]["404"] = refusal([UnknownModel], OpenInferenceError)
    return described | _parameters(application, path)


def _parameters(application: Application, path: str) -> dict[str, Any]:
    values = {"model": application.classifier.spec.name, "version": oip.version(application)}
    return {
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "enum": [value]}}
            for name, value in values.items()
            if f"{{{name}}}" in path
        ]
    }


def schemas(application: Application) -> dict[str, Any]:
    """The schemas of requests, responses and errors, by name."""
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
    names = list(oip.OUTPUTS)
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
    return {
        **model_schemas(OpenInferenceError),
        "InferRequest": resolved(request),
        "InferResponse": resolved(answer),
    }
