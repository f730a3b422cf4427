"""The service's own protocol: ``POST /classify``.

BentoML would answer it too (``service.py`` declares it, for the OpenAPI page and BentoML's clients), but at several
times the cost of a request, with errors in three shapes, and with the user's text in the log whenever a request is not
valid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema

from textserve.application import Application
from textserve.errors import InvalidRequest, TextserveError
from textserve.http.router import Description, HttpProtocol, Request, Response, dump
from textserve.http.schemas import TEXTS, operation, reference, schemas
from textserve.runner import Prediction
from textserve.spec import Meaning
from textserve.validation import problems

# Six digits: ten times finer than the 1e-4 to which answers are the same, and short.
SCORE_DIGITS = 6

PROBLEMS = {
    "json_invalid": "is not valid JSON in UTF-8",
    "missing": 'is missing; send {"texts": ["…"]}',
    "extra_forbidden": "is not a known key; there are texts and truncate",
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
        True, description="False refuses a text with more tokens than the model reads; otherwise its end is cut off."
    )


class Result(BaseModel):
    """The answer for one text."""

    label: Meaning = Field(description="The label with the highest score.")
    score: float = Field(description="Its probability.")
    scores: dict[Meaning, float] = Field(description="The probability of every label.")
    tokens: int = Field(description="Tokens that the model read, special tokens included.")
    truncated: bool = Field(description="Whether the text was longer than the model reads.")


class Refusal(BaseModel):
    """What is wrong with a request, or with the service."""

    type: str = Field(description="The name of what is wrong, for programs.")
    where: str | None = Field(None, description="The part of the request that is meant, if it is one.")
    message: str = Field(description="What is wrong, where, and what to do.")


class RefusalResponse(BaseModel):
    """The body of an error."""

    error: Refusal


class ClassifyResponse(BaseModel):
    """The answer of ``POST /classify``."""

    model: str = Field(description="Name and version of the model that answered.")
    results: list[Result] = Field(description="One for each text, in the order asked.")


def response(application: Application, predictions: Sequence[Prediction]) -> dict[str, Any]:
    """The answer, as :class:`ClassifyResponse` describes it, in plain dicts and lists."""
    return {"model": application.tag, "results": [result(one) for one in predictions]}


def result(prediction: Prediction) -> dict[str, Any]:
    """The answer for one text, as :class:`Result` describes it."""
    pairs = zip(prediction.labels, prediction.probabilities, strict=True)
    return {
        "label": prediction.label,
        "score": round(prediction.score, SCORE_DIGITS),
        "scores": {label: round(score, SCORE_DIGITS) for label, score in pairs},
        "tokens": prediction.tokens,
        "truncated": prediction.truncated,
    }


def parse(body: bytes) -> ClassifyRequest:
    """What is asked for in a request's body.

    Raises:
        InvalidRequest: naming the first part of the body that is not as documented.
    """
    try:
        return ClassifyRequest.model_validate_json(body)
    except ValidationError as error:
        raise invalid(error, PROBLEMS) from None


def invalid(error: ValidationError, messages: Mapping[str, str]) -> InvalidRequest:
    """The first problem of a body, in the words of ``messages`` by pydantic's error types."""
    first = problems(error, messages)[0]
    return InvalidRequest(first.message, where=first.where or "body")


async def _classify(application: Application, request: Request) -> Response:
    asked = parse(request.body)
    classified = await application.classify(asked.texts, truncation="right" if asked.truncate else None)
    return Response(dump(response(application, classified.predictions)), classified=classified)


def refuse(error: TextserveError) -> bytes:
    """The body of an error: its type, its message, and the part of the request that is meant."""
    content: dict[str, Any] = {"type": error.type, "message": error.message}
    if error.where is not None:
        content = {"type": error.type, "where": error.where, "message": f"{error.where} {error.message}"}
    return dump({"error": content})


def _describe(application: Application) -> Description:
    post = operation(
        application,
        "Classify texts, in the order given",
        request=reference(ClassifyRequest),
        answer=reference(ClassifyResponse),
        error=RefusalResponse,
    )
    return Description({"/classify": {"post": post}}, schemas(ClassifyRequest, ClassifyResponse, RefusalResponse))


NATIVE = HttpProtocol("native", {("POST", "/classify"): _classify}, refuse, describe=_describe)
