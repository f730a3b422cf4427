"""Formats that several protocols share: a result, an error, ranked labels, and messages about invalid bodies."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from textserve.application import Application
from textserve.classifier import Truncation
from textserve.errors import InvalidRequest, TextserveError, TooManyTexts
from textserve.http.router import dump
from textserve.http.structure import has_more_values
from textserve.prediction import Classified, Prediction
from textserve.validation import location, problems

# A hundred times finer than the 1e-4 within which results are the same.
SCORE_DIGITS = 6
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
LONE_SURROGATE = re.compile("[\ud800-\udfff]")
# A text in a list of its own has a comma and a bracket.
VALUES_PER_TEXT = 2
OTHER_VALUES = 1000
Model = TypeVar("Model", bound=BaseModel)


class Result(BaseModel):
    """The result for one text."""

    label: str = Field(description="The label with the highest score.")
    score: float = Field(description="Its probability.")
    scores: dict[str, float] = Field(description="The probability of every label.")
    tokens: int = Field(description="Tokens that the model read, special tokens included.")
    truncated: bool = Field(description="Whether the text was longer than the model reads.")


class Error(BaseModel):
    """What is wrong with a request, or with the service."""

    type: str = Field(description="The name of the error, for programs.")
    where: str | None = Field(None, description="The part of the request at fault, if known.")
    message: str = Field(description="What is wrong, where, and what to do.")


class ErrorResponse(BaseModel):
    """The body of an error."""

    error: Error


class LabelScore(BaseModel):
    """A label and its score."""

    label: str
    score: float


def result(prediction: Prediction) -> dict[str, Any]:
    """The result for one text, as :class:`Result` describes it."""
    pairs = zip(prediction.spec.label_names, prediction.scores, strict=True)
    return {
        "label": prediction.label,
        "score": round(prediction.score, SCORE_DIGITS),
        "scores": {label: round(score, SCORE_DIGITS) for label, score in pairs},
        "tokens": prediction.tokens,
        "truncated": prediction.truncated,
    }


def error_body(error: TextserveError) -> bytes:
    """The body of an error, as :class:`ErrorResponse` describes it."""
    where = {} if error.where is None else {"where": error.where}
    return dump({"error": {"type": error.type, **where, "message": error.full_message}})


def message(error: TextserveError) -> str:
    """The message, with the part of the request at fault in backticks."""
    return error.message if error.where is None else f"`{error.where}` {error.message}"


def ranked(prediction: Prediction, scores: Sequence[float]) -> list[dict[str, Any]]:
    """Each label with its score, as :class:`LabelScore` describes it, the highest first."""
    return [{"label": label, "score": round(score, SCORE_DIGITS)} for label, score in prediction.ranked(scores)]


def messages(missing: str, no_object: str, **others: str) -> dict[str, str]:
    """Error messages by pydantic's error type."""
    return {
        "json_invalid": "is not valid JSON in UTF-8",
        "missing": missing,
        "model_type": no_object,
        "bool_type": "must be true or false",
        "int_type": "must be a whole number",
        "string_type": "must be a string",
        "too_long": "has too many elements",
        **others,
    }


def read(model: type[Model], body: bytes, messages: Mapping[str, str], max_texts: int) -> Model:
    """The request in a JSON body.

    Raises:
        InvalidRequest: with the first problem; ``messages`` has the messages by pydantic's error type.
        TooManyTexts: if it has several times as many values as a request of ``max_texts`` texts.
    """
    limit = VALUES_PER_TEXT * max_texts + OTHER_VALUES
    if has_more_values(body, limit):
        raise TooManyTexts(f"has more than {limit} values; send at most {max_texts} texts in one request", where="body")
    try:
        # RFC 8259 lets a reader ignore a byte order mark.
        return model.model_validate_json(body.removeprefix(codecs.BOM_UTF8))
    except ValidationError as error:
        problem = problems(error, messages)[0]
    if problem.type != "json_invalid":
        raise InvalidRequest(problem.message, where=problem.where or "body")
    if SURROGATE.search(body) and (where := _find_surrogate(body)):
        raise InvalidRequest("must be Unicode text; it has half of a surrogate pair", where=where)
    raise InvalidRequest(f"{problem.message}: {problem.reason}", where="body")


def _find_surrogate(body: bytes) -> str | None:
    """The first string with half of a surrogate pair, which pydantic's parser rejects without its position."""
    try:
        waiting: list[tuple[tuple[int | str, ...], Any]] = [((), json.loads(body))]
    except (ValueError, RecursionError):
        return None
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, str) and LONE_SURROGATE.search(value):
            # A key may have half of a pair too.
            return location(path).encode("utf-8", "replace").decode()
        if isinstance(value, dict | list):
            items = value.items() if isinstance(value, dict) else enumerate(value)
            waiting += [((*path, key), item) for key, item in reversed(list(items))]
    return None


async def classify_inputs(
    application: Application, inputs: list[str] | str, truncation: Truncation | None
) -> Classified:
    """Classify a text or several; errors name ``inputs`` or ``inputs[3]``, not ``texts[3]``.

    Raises:
        TextserveError: see :meth:`Application.classify`.
    """
    texts = [inputs] if isinstance(inputs, str) else inputs
    try:
        return await application.classify(texts, truncation=truncation)
    except TextserveError as error:
        if error.where is not None:
            error.where = "inputs" if isinstance(inputs, str) else error.where.replace("texts", "inputs", 1)
        raise
