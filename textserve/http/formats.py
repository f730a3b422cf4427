"""Formats that several protocols share: a result, an error, ranked labels, and messages about invalid bodies."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, WithJsonSchema

from textserve.application import Application
from textserve.classifier import Truncation
from textserve.errors import InvalidRequest, TextserveError, TooManyTexts
from textserve.http.router import dump
from textserve.http.schemas import ELSEWHERE, LABEL, schemas
from textserve.http.structure import has_more_values
from textserve.prediction import Classified, Prediction
from textserve.spec import Input, ModelSpec, ProblemType
from textserve.validation import location, problems

# A hundred times finer than 1e-4, the tolerance within which two results count as equal.
SCORE_DIGITS = 6
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
LONE_SURROGATE = re.compile("[\ud800-\udfff]")
# A text in a list of its own adds a comma and a bracket; in a table of pandas, its index adds another comma.
VALUES_PER_TEXT = 3
OTHER_VALUES = 1000
PAIR_EXAMPLE = '{"text": "…", "text_pair": "…"}'
PAIR_KEYS = ("text", "text_pair")
Model = TypeVar("Model", bound=BaseModel)


def _whole(value: Any) -> Any:
    """A whole number as an ``int``, also if it is written as ``2.0``; other values unchanged."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(_whole)]
# Not built on Whole: the schema would lack the bound.
TopK = Annotated[int, Field(ge=1), BeforeValidator(_whole)]
Label = Annotated[str, WithJsonSchema(LABEL)]
Tokens = Annotated[int, Field(description="Tokens that the model read, special tokens included.")]
Truncated = Annotated[bool, Field(description="Whether the text was longer than the model reads.")]
Scores = Annotated[
    dict[Label, float], Field(description="Score of every label; with top_k, of the best labels, the highest first.")
]


class Result(BaseModel):
    """The result for one text, or pair of texts: one of the labels."""

    label: Label = Field(description="The label with the highest score.")
    score: float = Field(description="Its probability.")
    scores: Scores
    tokens: Tokens
    truncated: Truncated


class LabelsResult(BaseModel):
    """The result for one text, or pair of texts, to which any number of labels may apply."""

    labels: list[Label] = Field(description="The labels whose score reaches their threshold, the highest score first.")
    scores: Scores
    tokens: Tokens
    truncated: Truncated


class NumberResult(BaseModel):
    """The result for one text, or pair of texts, of a regression model: a number."""

    score: float = Field(description="The number.")
    tokens: Tokens
    truncated: Truncated


RESULTS: Mapping[ProblemType, type[BaseModel]] = {
    "single_label_classification": Result,
    "multi_label_classification": LabelsResult,
    "regression": NumberResult,
}
AnyResult = Annotated[Result | LabelsResult | NumberResult, WithJsonSchema({ELSEWHERE: "Result"})]


class Error(BaseModel):
    """What is wrong with a request, or with the service."""

    type: str = Field(description="The name of the error, for programs.")
    where: str | None = Field(None, description="The part of the request at fault, if known.")
    message: str = Field(description="What is wrong, where, and what to do.")


class ErrorResponse(BaseModel):
    """The body of an error."""

    error: Error


class MessageResponse(BaseModel):
    """The body of an error in the protocols that give only a message."""

    error: str


class LabelScore(BaseModel):
    """A label and its score."""

    label: Label
    score: float


def result(prediction: Prediction, top_k: int | None = None) -> dict[str, Any]:
    """The result for one text, as :data:`RESULTS` describe it.

    ``top_k`` keeps that many of the highest scores, the highest first; without it, all are in the model's order.
    """
    spec, tokens, truncated = prediction.spec, prediction.tokens, prediction.truncated
    score = round(prediction.score, SCORE_DIGITS)
    if spec.problem_type == "regression":
        return {"score": score, "tokens": tokens, "truncated": truncated}
    pairs = zip(spec.label_names, prediction.scores, strict=True) if top_k is None else prediction.ranked()[:top_k]
    scores = {label: round(score, SCORE_DIGITS) for label, score in pairs}
    if spec.problem_type == "multi_label_classification":
        return {"labels": prediction.labels, "scores": scores, "tokens": tokens, "truncated": truncated}
    return {"label": prediction.label, "score": score, "scores": scores, "tokens": tokens, "truncated": truncated}


def result_schema(spec: ModelSpec) -> dict[str, Any]:
    """The schema of what :func:`result` returns for the served model."""
    model = RESULTS[spec.problem_type]
    return {**schemas(model)[model.__name__], "title": "Result"}


def error_body(error: TextserveError) -> bytes:
    """The body of an error, as :class:`ErrorResponse` describes it."""
    where = {} if error.where is None else {"where": error.where}
    return dump({"error": {"type": error.type, **where, "message": error.full_message}})


def message_body(error: TextserveError) -> bytes:
    """The body of an error, as :class:`MessageResponse` describes it."""
    return dump({"error": error.full_message})


def message(error: TextserveError) -> str:
    """The message, with the part of the request at fault in backticks."""
    return error.message if error.where is None else f"`{error.where}` {error.message}"


def ranked(prediction: Prediction, scores: Sequence[float], top_k: int | None = None) -> list[dict[str, Any]]:
    """All labels, or the ``top_k`` best, with their scores, the highest first, as :class:`LabelScore` describes."""
    best = prediction.ranked(scores)[:top_k]
    return [{"label": label, "score": round(score, SCORE_DIGITS)} for label, score in best]


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


def read(model: type[Model], body: bytes, messages: Mapping[str, str], max_texts: int, *, pairs: bool = False) -> Model:
    """The request in a JSON body.

    Raises:
        InvalidRequest: with the first problem; ``messages`` has the messages by pydantic's error type.
        TooManyTexts: if the body has far more values than a request of ``max_texts`` texts, or pairs if ``pairs``.
    """
    limit = VALUES_PER_TEXT * max_texts * (2 if pairs else 1) + OTHER_VALUES
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
    """The location of the first string with half of a surrogate pair, which pydantic's parser does not tell."""
    try:
        waiting: list[tuple[tuple[int | str, ...], Any]] = [((), json.loads(body))]
    except (ValueError, RecursionError):
        return None
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, str) and LONE_SURROGATE.search(value):
            # A key in the path may have half of a surrogate pair too.
            return location(path).encode("utf-8", "replace").decode()
        if isinstance(value, dict | list):
            items = value.items() if isinstance(value, dict) else enumerate(value)
            waiting += [((*path, key), item) for key, item in reversed(list(items))]
    return None


def read_for(application: Application, model: type[Model], body: bytes, messages: Mapping[str, str]) -> Model:
    """The request in a JSON body, within the bounds of ``application``; raises as :func:`read` does."""
    pairs = application.classifier.spec.input == "pair"
    return read(model, body, messages, application.max_texts, pairs=pairs)


def is_pair(value: Any, spec: ModelSpec) -> bool:
    """Whether ``value`` is meant as a pair: an object with the keys of a pair, or for a model of pairs any object."""
    return isinstance(value, dict) and (spec.input == "pair" or value.keys() == set(PAIR_KEYS))


def as_input(value: Any, where: str, spec: ModelSpec) -> Input:
    """A text or pair of texts in JSON: a string, or an object with ``text`` and ``text_pair``.

    Raises:
        InvalidRequest: if ``value`` is neither; the message does not quote it.
    """
    if isinstance(value, str):
        return value
    if is_pair(value, spec):
        for key in PAIR_KEYS:
            if not isinstance(value.get(key), str):
                message = "must be a string" if key in value else f"is missing; a pair is {PAIR_EXAMPLE}"
                raise InvalidRequest(message, where=f"{where}.{key}")
        if len(value) > len(PAIR_KEYS):
            raise InvalidRequest(f"has an unknown key; a pair is {PAIR_EXAMPLE}", where=where)
        return value["text"], value["text_pair"]
    raise InvalidRequest("must be a string" if spec.input == "text" else f"must be {PAIR_EXAMPLE}", where=where)


def as_inputs(values: list[Any], where: str, spec: ModelSpec) -> list[Input]:
    """The texts or pairs of texts in a list; errors are those of :func:`as_input`, with the index of the input."""
    if all(isinstance(value, str) for value in values):
        return values
    return [as_input(value, f"{where}[{index}]", spec) for index, value in enumerate(values)]


async def classify_inputs(
    application: Application, inputs: list[Input] | Input, truncation: Truncation | None, name: str = "inputs"
) -> Classified:
    """Classify one input or a list; errors name an input as the request does, such as ``inputs`` or ``inputs[3]``.

    Raises:
        TextserveError: see :meth:`Application.classify`.
    """
    with naming(inputs, name):
        return await application.classify(inputs if isinstance(inputs, list) else [inputs], truncation=truncation)


@contextmanager
def naming(inputs: object, name: str) -> Iterator[None]:
    """Rename ``texts`` in errors to the request's key: ``name`` for a single input, ``name[3]`` for one of a list."""
    try:
        yield
    except TextserveError as error:
        if error.where is not None:
            error.where = error.where.replace("texts" if isinstance(inputs, list) else "texts[0]", name, 1)
        raise
