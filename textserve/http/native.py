"""The service's own protocol: ``POST /classify``.

BentoML would answer it too (``service.py`` declares it, for BentoML's clients), but at several times the cost, with
errors in three formats, and with the text of every invalid request in the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, FailFast, Field, WithJsonSchema

from textserve.application import Application
from textserve.http.formats import (
    AnyResult,
    ErrorResponse,
    TopK,
    as_inputs,
    error_body,
    messages,
    read_for,
    result,
    result_schema,
)
from textserve.http.router import HttpProtocol, Request, Response, Route, dump
from textserve.http.schemas import TEXTS, post, schemas
from textserve.prediction import Classified, Prediction

EXAMPLE = '{"texts": ["…"]}'
PROBLEMS = messages(
    f"is missing; send {EXAMPLE}",
    f"must be an object: {EXAMPLE}",
    extra_forbidden="is not a known key; known are texts, truncate and top_k",
    greater_than_equal="must be at least 1",
    list_type="must be a list of strings",
)


class ClassifyRequest(BaseModel):
    """The body of ``POST /classify``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    texts: Annotated[list[Any], FailFast(), WithJsonSchema(TEXTS)]
    truncate: bool = Field(
        True, description="False rejects a text with more tokens than the model reads; otherwise its end is cut off."
    )
    top_k: TopK | None = Field(None, description="Number of scores, the highest first; all by default.")


class ClassifyResponse(BaseModel):
    """The response of ``POST /classify``."""

    model: str = Field(description="Name and version of the model.")
    results: list[AnyResult] = Field(description="One result for each text, in the order of the request.")


def response(application: Application, predictions: Sequence[Prediction], top_k: int | None = None) -> dict[str, Any]:
    """The response, as :class:`ClassifyResponse` describes it, in plain dicts and lists."""
    return {"model": application.tag, "results": [result(prediction, top_k) for prediction in predictions]}


async def classify(application: Application, texts: list[Any], *, truncate: bool) -> Classified:
    """Classify the ``texts`` of a request.

    Raises:
        TextserveError: see :meth:`Application.classify`.
    """
    inputs = as_inputs(texts, "texts", application.classifier.spec)
    return await application.classify(inputs, truncation="right" if truncate else None)


async def _classify(application: Application, request: Request) -> Response:
    wanted = read_for(application, ClassifyRequest, request.body, PROBLEMS)
    classified = await classify(application, wanted.texts, truncate=wanted.truncate)
    return Response(dump(response(application, classified.predictions, wanted.top_k)), classified=classified)


def _schemas(application: Application) -> dict[str, Any]:
    models = schemas(ClassifyRequest, ClassifyResponse, ErrorResponse)
    return {**models, "Result": result_schema(application.classifier.spec)}


describe = post(
    "Classify texts, in the order given", request=ClassifyRequest, answer=ClassifyResponse, error=ErrorResponse
)
NATIVE = HttpProtocol(
    "native",
    [Route("POST", "/classify", _classify, describe)],
    error_body,
    schemas=_schemas,
    title="Classification",
)
