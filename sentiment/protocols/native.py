"""The service's own protocol: ``POST /classify``.

BentoML would answer it too (``service.py`` declares it, for the OpenAPI page and BentoML's clients), but at several
times the cost of a request, with errors in three shapes, and with the user's text in the log whenever a request is not
valid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sentiment.application import Application
from sentiment.errors import InvalidRequest, SentimentError
from sentiment.protocols.http import HttpProtocol, Request, Response, dump
from sentiment.runner import Prediction
from sentiment.spec import Meaning

# Six digits: ten times finer than the 1e-4 to which answers are the same, and short.
SCORE_DIGITS = 6

PROBLEMS = {
    "json_invalid": "is not valid JSON in UTF-8",
    "missing": 'is missing; send {"texts": ["…"]}',
    "extra_forbidden": "is not a known key; the only one is texts",
    "list_type": "must be a list of strings",
    "string_type": "must be a string",
    "string_unicode": "must be Unicode text; it has half of a surrogate pair",
    "model_type": 'must be an object: {"texts": ["…"]}',
    "model_attributes_type": 'must be an object: {"texts": ["…"]}',
}


class ClassifyRequest(BaseModel):
    """The body of ``POST /classify``."""

    model_config = ConfigDict(extra="forbid")

    texts: list[str] = Field(description="Texts to classify, at least one.")


class Result(BaseModel):
    """The answer for one text."""

    label: Meaning = Field(description="The label with the highest score.")
    score: float = Field(description="Its probability.")
    scores: dict[Meaning, float] = Field(description="The probability of every label.")
    tokens: int = Field(description="Tokens that the model read, special tokens included.")
    truncated: bool = Field(description="Whether the text was longer than the model reads.")


class ClassifyResponse(BaseModel):
    """The answer of ``POST /classify``."""

    model: str = Field(description="Name and version of the model that answered.")
    results: list[Result] = Field(description="One for each text, in the order asked.")


def response(application: Application, predictions: Sequence[Prediction]) -> dict[str, Any]:
    """The answer, as :class:`ClassifyResponse` describes it, in plain dicts and lists."""
    return {"model": application.tag, "results": [_result(application.meanings, one) for one in predictions]}


def _result(meanings: Sequence[Meaning], prediction: Prediction) -> dict[str, Any]:
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


def parse(body: bytes) -> list[str]:
    """The texts of a request's body.

    Raises:
        InvalidRequest: naming the first part of the body that is not as documented.
    """
    try:
        return ClassifyRequest.model_validate_json(body).texts
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = "".join(f"[{part}]" if isinstance(part, int) else part for part in problem["loc"])
    raise InvalidRequest(PROBLEMS.get(problem["type"], problem["msg"]), where=where or "body")


async def _classify(application: Application, request: Request) -> Response:
    classified = await application.classify(parse(request.body))
    return Response(dump(response(application, classified.predictions)), classified=classified)


def _refuse(error: SentimentError) -> bytes:
    content: dict[str, Any] = {"type": error.type, "message": error.message}
    if error.where is not None:
        content = {"type": error.type, "where": error.where, "message": f"{error.where} {error.message}"}
    return dump({"error": content})


NATIVE = HttpProtocol("native", {("POST", "/classify"): _classify}, _refuse)
