"""The parts of which the protocols over HTTP make their descriptions for the OpenAPI document.

Bodies are described by the pydantic models that read and write them; what depends on a setting is a schema that they
refer to, so that the document says what this service, with its settings, accepts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema

from textserve import errors
from textserve.application import Application
from textserve.errors import Overloaded, TextserveError, Unauthorized
from textserve.settings import Settings

REFERENCE = "#/components/schemas/{model}"
# Stands in a model for a reference to a schema of another source, which pydantic would look for among the models.
ELSEWHERE = "x-schema"
TEXT = {ELSEWHERE: "Text"}
TEXTS = {ELSEWHERE: "Texts"}

# What a request for the classification of texts may be refused with, in the order in which it is checked.
REFUSALS: Sequence[type[TextserveError]] = (
    errors.Unauthorized,
    errors.BodyTooLarge,
    errors.InvalidRequest,
    errors.TooManyTexts,
    errors.TextTooLong,
    errors.EmptyInput,
    errors.InputTooLong,
    errors.NotReady,
    errors.ShuttingDown,
    errors.Overloaded,
    errors.DeadlineExceeded,
    errors.Internal,
)

HEADERS: dict[str, Any] = {
    "X-Request-Id": {"description": "The request's own id, or a new one.", "schema": {"type": "string"}},
    "Server-Timing": {
        "description": "Milliseconds of tokenization, in the queue, and of inference.",
        "schema": {"type": "string"},
    },
    "X-Compute-Tokens": {"description": "Tokens that the model read.", "schema": {"type": "integer", "minimum": 1}},
    "X-Model-Version": {"description": "Name and version of the model.", "schema": {"type": "string"}},
}
# Python's str.isspace() takes the control characters 1C to 1F and 85 for white space, the \s of JSON Schema does not.
SOME_TEXT = r"[^\s\x1c-\x1f\x85]"
RETRY_AFTER: dict[str, Any] = {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}
AUTHENTICATE: dict[str, Any] = {"schema": {"const": "Bearer"}}


def limits(settings: Settings) -> dict[str, Any]:
    """The schemas that depend on the settings."""
    return {
        "Text": {
            "type": "string",
            "minLength": 1,
            "maxLength": settings.max_characters,
            "pattern": SOME_TEXT,
            "description": "A text with something in it besides white space.",
        },
        "Texts": {
            "type": "array",
            "items": resolved(TEXT),
            "minItems": 1,
            "maxItems": settings.max_texts,
            "description": "Texts, answered in their order.",
        },
    }


def schemas(*models: type[BaseModel]) -> dict[str, Any]:
    """The schemas of models, and of those that they refer to, by name."""
    _, together = models_json_schema([(model, "validation") for model in models], ref_template=REFERENCE)
    definitions: dict[str, Any] = resolved(together["$defs"])
    return definitions


def resolved(schema: Any) -> Any:
    """The schema, with references in place of :data:`ELSEWHERE`."""
    if isinstance(schema, dict):
        items = {key: resolved(value) for key, value in schema.items() if key != ELSEWHERE}
        return {"$ref": REFERENCE.format(model=schema[ELSEWHERE]), **items} if ELSEWHERE in schema else items
    return [resolved(item) for item in schema] if isinstance(schema, list) else schema


def reference(model: type[BaseModel]) -> dict[str, Any]:
    """A reference to the schema of ``model``."""
    return {"$ref": REFERENCE.format(model=model.__name__)}


def answer_schema(answer: Any) -> dict[str, Any]:
    """The schema of an answer's type that is not a model itself, its models by reference."""
    schema = TypeAdapter(answer).json_schema(mode="serialization", ref_template=REFERENCE)
    schema.pop("$defs", None)
    return schema


def get(application: Application, summary: str, content: dict[str, Any], error: type[BaseModel]) -> dict[str, Any]:
    """A ``GET`` that needs nothing but an API key, where there are any; ``content`` is the answer's, by media type."""
    refusals = {"401": refusal([Unauthorized], error)} if application.keys else {}
    return {"summary": summary, "responses": {"200": {"description": "The answer.", "content": content}, **refusals}}


def operation(
    application: Application,
    summary: str,
    *,
    request: dict[str, Any],
    answer: dict[str, Any],
    error: type[BaseModel],
    status: Callable[[TextserveError], int] = lambda error: error.status,
    refusals: Sequence[type[TextserveError]] = REFUSALS,
) -> dict[str, Any]:
    """A ``POST`` that classifies what is in its body: what it is asked with, and every status that it answers.

    Args:
        application: whose limits and keys are meant.
        summary: what it does, in a line.
        request: the schema of the body.
        answer: the schema of the answer.
        error: the model of the body of an error.
        status: the protocol's status of each error.
        refusals: what it may be refused with.
    """
    by_status: dict[int, list[type[TextserveError]]] = {}
    for kind in refusals:
        if kind is not Unauthorized or application.keys:
            by_status.setdefault(status(kind("")), []).append(kind)
    refused = {str(code): refusal(kinds, error) for code, kinds in sorted(by_status.items())}
    return {
        "summary": summary,
        "requestBody": {
            "required": True,
            "description": f"JSON in UTF-8, whatever its content type says, of at most "
            f"{application.settings.max_body_bytes} bytes, as it is or compressed (gzip, deflate).",
            "content": {"application/json": {"schema": request}},
        },
        "responses": {
            "200": {
                "description": "The answer.",
                "headers": HEADERS,
                "content": {"application/json": {"schema": answer}},
            },
            **refused,
        },
    }


def refusal(kinds: Sequence[type[TextserveError]], error: type[BaseModel]) -> dict[str, Any]:
    """The response of one status, which stands for ``kinds`` of errors."""
    headers = {"X-Request-Id": HEADERS["X-Request-Id"]}
    if Overloaded in kinds:
        headers["Retry-After"] = RETRY_AFTER
    if Unauthorized in kinds:
        headers["WWW-Authenticate"] = AUTHENTICATE
    return {
        "description": "\n\n".join(f"`{kind.type}`: {' '.join((kind.__doc__ or '').split())}" for kind in kinds),
        "headers": headers,
        "content": {"application/json": {"schema": reference(error)}},
    }
