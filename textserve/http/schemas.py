"""Builds the descriptions of routes and bodies for the OpenAPI document.

Pydantic models describe the bodies that they read or write. Whatever depends on a setting is a separate schema, to
which the models refer, so that the document has the limits of this service.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema

from textserve import errors
from textserve.application import Application
from textserve.errors import Overloaded, TextserveError, Unauthorized
from textserve.http.router import Describe
from textserve.spec import LabelName, ModelSpec

REFERENCE = "#/components/schemas/{model}"
# A key that stands for a reference to a schema that is not a model: pydantic would look for it among the models.
ELSEWHERE = "x-schema"
TEXT = {ELSEWHERE: "Text"}
INPUT = {ELSEWHERE: "Input"}
TEXTS = {ELSEWHERE: "Texts"}
LABEL = {ELSEWHERE: "Label"}
# The document does not list the labels of a model that has more.
MAX_LISTED_LABELS = 50

# The errors of a request that classifies texts, in the order of the checks.
REFUSALS: Sequence[type[TextserveError]] = (
    errors.Unauthorized,
    errors.BodyTooLarge,
    errors.InvalidRequest,
    errors.TooManyTexts,
    errors.TextTooLong,
    errors.EmptyInput,
    errors.InputTooLong,
    errors.RequestTooLarge,
    errors.NotReady,
    errors.ShuttingDown,
    errors.Overloaded,
    errors.DeadlineExceeded,
    errors.Internal,
)
STRING = {"type": "string"}
POSITIVE: dict[str, Any] = {"type": "integer", "minimum": 1}
REQUEST_ID = {"X-Request-Id": {"description": "The request's own id, or a new one.", "schema": STRING}}
HEADERS: dict[str, Any] = {
    **REQUEST_ID,
    "Server-Timing": {"description": "Milliseconds of tokenization, queueing and inference.", "schema": STRING},
    "X-Compute-Tokens": {"description": "Tokens that the model read.", "schema": POSITIVE},
    "X-Model-Version": {"description": "Name and version of the model.", "schema": STRING},
}
# Python's str.isspace() includes the control characters 1C to 1F and 85, the \s of JSON Schema does not.
NOT_BLANK = r"[^\s\x1c-\x1f\x85]"


def shared(application: Application) -> dict[str, Any]:
    """The schemas that depend on the settings and the served model, and that several protocols refer to."""
    settings, spec = application.settings, application.classifier.spec
    pairs = spec.input == "pair"
    taken = reference("Pair" if pairs else "Text")
    return {
        "Text": {
            "type": "string",
            "minLength": 1,
            "maxLength": settings.max_characters,
            "pattern": NOT_BLANK,
            "description": "A text that is not only white space.",
        },
        **({"Pair": PAIR} if pairs else {}),
        "Input": taken,
        "Texts": {**array(taken, application.max_texts), "description": "Texts, answered in their order."},
        "Label": label(spec),
    }


def label(spec: ModelSpec) -> dict[str, Any]:
    """The schema of a label's name: an enumeration of the model's labels, if they are few."""
    if len(spec.labels) <= MAX_LISTED_LABELS:
        return {"type": "string", "enum": spec.label_names}
    return {**TypeAdapter(LabelName).json_schema(), "description": f"One of {len(spec.labels)} labels."}


def closed(**properties: dict[str, Any]) -> dict[str, Any]:
    """The schema of an object with all of ``properties`` and no others."""
    return {
        "type": "object",
        "required": list(properties),
        "properties": properties,
        "additionalProperties": False,
    }


def array(items: dict[str, Any], limit: int) -> dict[str, Any]:
    """The schema of an array of at least one item and at most ``limit``."""
    return {"type": "array", "items": items, "minItems": 1, "maxItems": limit}


def schemas(*models: type[BaseModel]) -> dict[str, Any]:
    """The schemas of ``models`` and of those that they refer to, by name."""
    _, together = models_json_schema([(model, "validation") for model in models], ref_template=REFERENCE)
    definitions: dict[str, Any] = resolved(together["$defs"])
    return definitions


def resolved(schema: Any) -> Any:
    """The schema, with a reference instead of each :data:`ELSEWHERE`."""
    if isinstance(schema, dict):
        items = {key: resolved(value) for key, value in schema.items() if key != ELSEWHERE}
        return {**reference(schema[ELSEWHERE]), **items} if ELSEWHERE in schema else items
    return [resolved(item) for item in schema] if isinstance(schema, list) else schema


def reference(name: str) -> dict[str, Any]:
    """A reference to the schema ``name``."""
    return {"$ref": REFERENCE.format(model=name)}


PAIR = {**closed(text=reference("Text"), text_pair=reference("Text")), "description": "A pair of texts."}


def get(summary: str, content: dict[str, Any], error: type[BaseModel]) -> Describe:
    """The description of a ``GET`` route without parameters; ``content`` is the response's, by media type."""

    def describe(application: Application) -> dict[str, Any]:
        refusals = {"401": refusal([Unauthorized], error)} if application.keys else {}
        return {
            "summary": summary,
            "responses": {"200": {"description": "The answer.", "content": content}, **refusals},
        }

    return describe


def post(
    summary: str,
    *,
    request: Any,
    answer: Any,
    error: type[BaseModel],
    status: Callable[[TextserveError], int] = attrgetter("status"),
    more: Sequence[type[TextserveError]] = (),
) -> Describe:
    """The description of a ``POST`` route that classifies texts.

    ``request`` and ``answer`` are bodies as in :func:`json_content`; ``status`` returns the protocol's status of an
    error; ``more`` are errors besides REFUSALS.
    """

    def describe(application: Application) -> dict[str, Any]:
        by_status: dict[int, list[type[TextserveError]]] = {}
        for kind in (*REFUSALS, *more):
            if kind is not Unauthorized or application.keys:
                by_status.setdefault(status(kind("")), []).append(kind)
        return {
            "summary": summary,
            "requestBody": {
                "required": True,
                "description": f"JSON in UTF-8, whatever its content type, of at most "
                f"{application.settings.max_body_bytes} bytes, uncompressed or compressed (gzip, deflate).",
                "content": json_content(request),
            },
            "responses": {
                "200": {"description": "The answer.", "headers": HEADERS, "content": json_content(answer)},
                **{str(code): refusal(kinds, error) for code, kinds in sorted(by_status.items())},
            },
        }

    return describe


def json_content(body: Any) -> dict[str, Any]:
    """JSON content; ``body`` is a model, a type made of models such as ``list[LabelScore]``, or a schema's name."""
    if isinstance(body, str | type):
        schema = reference(body if isinstance(body, str) else body.__name__)
    else:
        schema = TypeAdapter(body).json_schema(mode="serialization", ref_template=REFERENCE)
        schema.pop("$defs")
    return {"application/json": {"schema": schema}}


def refusal(kinds: Sequence[type[TextserveError]], error: type[BaseModel]) -> dict[str, Any]:
    """The response of one status, for errors of ``kinds``."""
    headers: dict[str, Any] = dict(REQUEST_ID)
    if Overloaded in kinds:
        headers["Retry-After"] = {"description": "Seconds.", "schema": POSITIVE}
    if Unauthorized in kinds:
        headers["WWW-Authenticate"] = {"schema": {"const": "Bearer"}}
    return {
        "description": "\n\n".join(f"`{kind.type}`: {' '.join((kind.__doc__ or '').split())}" for kind in kinds),
        "headers": headers,
        "content": json_content(error),
    }
