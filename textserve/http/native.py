"""The service's own protocol: ``POST /classify``.

BentoML would answer it too (``service.py`` declares it, for BentoML's clients), but at several times the cost, with
errors in three formats, and with the text of every invalid request in the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema

from textserve.application import Application
from textserve.http.formats import ErrorResponse, Result, error_body, invalid, result
from textserve.http.router import HttpProtocol, Request, Response, Route, dump
from textserve.http.schemas import TEXTS, operation, reference, schemas
from textserve.runner import Prediction

PROBLEMS = {
    "json_invalid": "is not valid JSON in UTF-8",
    "missing": 'is missing; send {"texts": ["…"]}',
    "extra_forbidden": "is not a known key; known are texts and truncate",
    "bool_type": "must be true or false",
    "list_type": "must be a list of strings",
    "string_type": "must be a string",
    "string_unicode": "must be Unicode text; it has half of a surrogate pair",
    "model_type": 'must be an object: {"texts": ["…"]}',
    "model_attributes_type": 'must be an object: {"texts": ["…"]}',
}


class ClassifyRequest(BaseModel):
    """The body of ``POST /classify``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    texts: Annotated[list[str], WithJsonSchema(TEXTS)]
    truncate: bool = Field(
        True, description="False rejects a text with more tokens than the model reads; otherwise its end is cut off."
    )


class ClassifyResponse(BaseModel):
    """The response of ``POST /classify``."""

    model: str = Field(description="Name and version of the model.")
    results: list[Result] = Field(description="One for each text, in the order of the request.")


def response(application: Application, predictions: Sequence[Prediction]) -> dict[str, Any]:
    """The response, as :class:`ClassifyResponse` describes it, in plain dicts and lists."""
    return {"model": application.tag, "results": [result(prediction) for prediction in predictions]}


def parse(body: bytes) -> ClassifyRequest:
    """The request in a body.

    Raises:
        InvalidRequest: naming the first part of the body that is wrong.
    """
    try:
        return ClassifyRequest.model_validate_json(body)
    except ValidationError as error:
        raise invalid(error, PROBLEMS) from None


async def _classify(application: Application, request: Request) -> Response:
    wanted = parse(request.body)
    classified = await application.classify(wanted.texts, truncation="right" if wanted.truncate else None)
    return Response(dump(response(application, classified.predictions)), classified=classified)


def _operation(application: Application) -> dict[str, Any]:
    return operation(
        application,
        "Classify texts, in the order given",
        request=reference(ClassifyRequest),
        answer=reference(ClassifyResponse),
        error=ErrorResponse,
    )


NATIVE = HttpProtocol(
    "native",
    [Route("POST", "/classify", _classify, _operation)],
    error_body,
    schemas=lambda _: schemas(ClassifyRequest, ClassifyResponse, ErrorResponse),
)
