"""``POST /explain``: how far the labels' scores and log-odds fall without each word; see ``docs/explain.md``."""

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

    # allOf, since pydantic adds a title, and a reference with siblings is resolved by pydantic itself.
    text: Annotated[str, WithJsonSchema({"allOf": [TEXT]})]
    text_pair: Annotated[str | None, WithJsonSchema({"allOf": [TEXT]})] = None
    labels: Annotated[list[str] | None, WithJsonSchema(LABELS)] = Field(
        None, description="The labels to explain; by default those of the answer, or the best one if it has none."
    )


class Influence(TypedDict):
    """What a word does to a label."""

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
                description="The same for the label's log-odds, ln(p / (1 - p)): it tells words apart where the score "
                "is close to 0 or 1. Left out if the score is not a probability."
            ),
        ]
    ]


# `in` is a keyword.
WordPart = TypedDict("WordPart", {"in": Annotated[Part, Field(description="The text that has the word.")]})


class WordInfluence(WordPart, Influence):
    """One word; its influence is that on the first explained label."""

    text: Annotated[str, Field(description="The word as written in the text.")]
    start: Annotated[int, Field(description="Where it starts, in Unicode code points from 0.")]
    end: Annotated[int, Field(description="Where it ends, the first code point that is not part of it.")]
    labels: NotRequired[
        Annotated[
            dict[Label, Influence], Field(description="Its influence on each explained label, if they are several.")
        ]
    ]


class Explained(BaseModel):
    """What the response of ``POST /explain`` has beside the result of ``POST /classify``."""

    model: str = Field(description="Name and version of the model.")
    explained: list[Label] = Field(description="The explained labels; of a number, its name.")
    words: list[WordInfluence] = Field(description="Every word, in the order of the text, or of both texts.")


def response(application: Application, value: Input, explanation: Explanation) -> dict[str, Any]:
    """The response: a result and what :class:`Explained` describes, in plain dicts and lists.

    The influence is the difference of two scores rounded as in ``/classify``, so that a client can check it.
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
    for influence, log_odds in zip(influences, word.log_odds, strict=False):  # of a number there are none
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
