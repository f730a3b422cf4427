"""``POST /explain``: by how much labels' scores and log-odds fall without each word; see ``docs/explain.md``."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from typing_extensions import TypedDict

from textserve.application import Application
from textserve.explanation import ExplainedWord, Explanation, Part, explain
from textserve.http.formats import (
    SCORE_DIGITS,
    ErrorResponse,
    Label,
    error_body,
    messages,
    read_for,
    result,
    result_schema,
)
from textserve.http.router import HttpProtocol, Request, Response, Route, dump
from textserve.http.schemas import LABEL, TEXT, post, reference, schemas
from textserve.spec import Input

EXAMPLE = '{"text": "…"}'
PROBLEMS = messages(
    f"is missing; send {EXAMPLE}",
    f"must be an object: {EXAMPLE}",
    extra_forbidden="is not a known key; known are text, text_pair and labels",
    list_type="must be a list of labels",
)


LABELS = {"type": ["array", "null"], "items": LABEL, "minItems": 1, "uniqueItems": True}


class ExplainRequest(BaseModel):
    """The body of ``POST /explain``."""

    model_config = ConfigDict(extra="forbid")

    # In allOf, since pydantic adds a title beside the reference.
    text: Annotated[str, WithJsonSchema({"allOf": [TEXT]})]
    text_pair: Annotated[str | None, WithJsonSchema({"allOf": [TEXT]})] = None
    labels: Annotated[list[str] | None, WithJsonSchema(LABELS)] = Field(
        None, description="The labels to explain; by default the answer's, or if it has none, the best label."
    )


class Influence(TypedDict):
    """The influence of a word on a label."""

    influence: Annotated[
        float,
        Field(
            description="The score of the label minus its score without this word: above 0 the word supports the "
            "label, below 0 it speaks against it."
        ),
    ]
    log_odds: NotRequired[
        Annotated[
            float,
            Field(
                description="The same difference of the label's log-odds, ln(p / (1 - p)): it tells words apart where "
                "the score is close to 0 or 1. Left out if the score is not a probability."
            ),
        ]
    ]


# `in` is a keyword.
WordPart = TypedDict("WordPart", {"in": Annotated[Part, Field(description="The text that has the word.")]})


class WordInfluence(WordPart, Influence):
    """One word, with its influence on the first explained label."""

    text: Annotated[str, Field(description="The word as written in the text.")]
    start: Annotated[int, Field(description="Index of the word's first Unicode code point.")]
    end: Annotated[int, Field(description="Index of the first code point after the word.")]
    labels: NotRequired[
        Annotated[
            dict[Label, Influence], Field(description="Influence on each label, if several labels are explained.")
        ]
    ]


class Explained(BaseModel):
    """What the response of ``POST /explain`` has in addition to the result of ``POST /classify``."""

    model: str = Field(description="Name and version of the model.")
    explained: list[Label] = Field(description="The explained labels; for regression, the name of the number.")
    words: list[WordInfluence] = Field(description="Every word, in the order of the text, or of both texts.")


def response(application: Application, value: Input, explanation: Explanation) -> dict[str, Any]:
    """The response: a result and the keys of :class:`Explained`, in plain dicts and lists.

    An influence is the difference of two scores that are rounded as in ``/classify``, so that a client can check it.
    """
    prediction = explanation.prediction
    names = [prediction.spec.label_names[label] for label in explanation.labels]
    scores = [round(prediction.scores[label], SCORE_DIGITS) for label in explanation.labels]
    texts = {"text": value} if isinstance(value, str) else {"text": value[0], "text_pair": value[1]}
    words = []
    for word in explanation.words:
        influences = _influences(scores, word)
        several = {"labels": dict(zip(names, influences, strict=True))} if len(names) > 1 else {}
        place = {"text": texts[word.part][word.start : word.end], "in": word.part, "start": word.start, "end": word.end}
        words.append(place | influences[0] | several)
    return {"model": application.tag, **result(prediction), "explained": names, "words": words}


def _influences(scores: list[float], word: ExplainedWord) -> list[dict[str, float]]:
    influences = [
        {"influence": round(score - round(without, SCORE_DIGITS), SCORE_DIGITS)}
        for score, without in zip(scores, word.scores_without, strict=True)
    ]
    for influence, log_odds in zip(influences, word.log_odds, strict=False):  # empty if scores are no probabilities
        influence["log_odds"] = round(log_odds, SCORE_DIGITS)
    return influences


async def _explain(application: Application, request: Request) -> Response:
    wanted = read_for(application, ExplainRequest, request.body, PROBLEMS)
    value = wanted.text if wanted.text_pair is None else (wanted.text, wanted.text_pair)
    explanation = await explain(application, value, wanted.labels)
    return Response(dump(response(application, value, explanation)), classified=explanation.classified)


def _schemas(application: Application) -> dict[str, Any]:
    spec = application.classifier.spec
    found = {**schemas(ExplainRequest, Explained, ErrorResponse), "Result": result_schema(spec)}
    request = found["ExplainRequest"]
    if spec.input == "pair":
        request["required"].append("text_pair")
        del request["properties"]["text_pair"]["default"]
    else:
        del request["properties"]["text_pair"]
    found["ExplainResponse"] = {"allOf": [reference("Result"), reference("Explained")]}
    return found


describe = post(
    "Classify a text, with the influence of each word",
    request=ExplainRequest,
    answer="ExplainResponse",
    error=ErrorResponse,
)
EXPLAIN = HttpProtocol(
    "explain",
    [Route("POST", "/explain", _explain, describe)],
    error_body,
    schemas=_schemas,
    title="Explanation",
)
