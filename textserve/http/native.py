"""The service's own protocol: ``POST /classify``.

BentoML would answer it too (``service.py`` declares it, for BentoML's clients), but at several times the cost, with
errors in three formats, and with the text of every invalid request in the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, FailFast, Field, WithJsonSchema

from textserve.application import Application
from textserve.http.formats import ErrorResponse, Result, error_body, messages, read, result
from textserve.http.router import HttpProtocol, Request, Response, Route, dump
from textserve.http.schemas import TEXTS, post, schemas
from textserve.prediction import Prediction

EXAMPLE = '{"texts": ["…"]}'
PROBLEMS = messages(
    f"is missing; send {EXAMPLE}",
    f"must be an object: {EXAMPLE}",
    extra_forbidden="is not a known key; known are texts and truncate",
    list_type="must be a list of strings",
)


class ClassifyRequest(BaseModel):
    """The body of ``POST /classify``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    texts: Annotated[list[str], FailFast(), WithJsonSchema(TEXTS)]
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


async def _classify(application: Application, request: Request) -> Response:
    wanted = read(ClassifyRequest, request.body, PROBLEMS, application.settings.max_texts)
    classified = await application.classify(wanted.texts, truncation="right" if wanted.truncate else None)
    return Response(dump(response(application, classified.predictions)), classified=classified)


describe = post(
    "Classify texts, in the order given", request=ClassifyRequest, answer=ClassifyResponse, error=ErrorResponse
)
NATIVE = HttpProtocol(
    "native",
    [Route("POST", "/classify", _classify, describe)],
    error_body,
    schemas=lambda _: schemas(ClassifyRequest, ClassifyResponse, ErrorResponse),
    title="Classification",
)
