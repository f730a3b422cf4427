"""The service's own protocol: ``POST /classify``.

BentoML would answer it too (``service.py`` declares it, for the OpenAPI page and BentoML's clients), but at several
times the cost of a request, with errors in three shapes, and with the user's text in the log whenever a request is not
valid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema

from sentiment.application import Application
from sentiment.errors import InvalidRequest, SentimentError
from sentiment.protocols.http import Description, HttpProtocol, Request, Response, dump
from sentiment.protocols.schemas import TEXTS, operation, reference, schemas
from sentiment.runner import Prediction
from sentiment.spec import Meaning

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
    return {"model": application.tag, "results": [result(application.meanings, one) for one in predictions]}


def result(meanings: Sequence[Meaning], prediction: Prediction) -> dict[str, Any]:
    """The answer for one text, as :class:`Result` describes it."""
    scores = {
        meaning: round(score, SCORE_DIGITS) for meaning, score in zip(meanings, prediction.probabilities, strict=True)
    }
    label = max(scores, key=scores.__getitem__)
    return {
        "label": label,
        "score": scores[label],
        "scores": scores,
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


def invalid(error: ValidationError, problems: Mapping[str, str]) -> InvalidRequest:
    """The first problem of a body, in the words of ``problems`` by pydantic's types, with its place."""
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem["loc"]).removeprefix(".")
    return InvalidRequest(problems.get(problem["type"], problem["msg"]), where=where or "body")


async def _classify(application: Application, request: Request) -> Response:
    asked = parse(request.body)
    classified = await application.classify(asked.texts, truncation="right" if asked.truncate else None)
    return Response(dump(response(application, classified.predictions)), classified=classified)


def refuse(error: SentimentError) -> bytes:
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
