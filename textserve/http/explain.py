"""``POST /explain``: how far the label's score and log-odds fall without each word; see ``docs/explain.md``."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from textserve.application import Application
from textserve.explanation import Explanation, explain
from textserve.http.formats import SCORE_DIGITS, ErrorResponse, Result, error_body, messages, read, result
from textserve.http.router import HttpProtocol, Request, Response, Route, dump
from textserve.http.schemas import TEXT, post, schemas

EXAMPLE = '{"text": "…"}'
PROBLEMS = messages(
    f"is missing; send {EXAMPLE}",
    f"must be an object: {EXAMPLE}",
    extra_forbidden="is not a known key; the only one is text",
)


class ExplainRequest(BaseModel):
    """The body of ``POST /explain``."""

    model_config = ConfigDict(extra="forbid")

    # allOf, since pydantic adds a title, and a reference with siblings is resolved by pydantic itself.
    text: Annotated[str, WithJsonSchema({"allOf": [TEXT]})]


class WordInfluence(BaseModel):
    """One word of the text."""

    text: str = Field(description="The word as written in the text.")
    start: int = Field(description="Where it starts, in Unicode code points from 0.")
    end: int = Field(description="Where it ends, the first code point that is not part of it.")
    influence: float = Field(
        description="The score of the label minus its score without this word: above 0 the word supports the "
        "label, below 0 it speaks against it."
    )
    log_odds: float = Field(
        description="The same for the label's log-odds, ln(p / (1 - p)): it tells words apart where the score is close "
        "to 0 or 1."
    )


class ExplainResponse(Result):
    """The response of ``POST /explain``: the result of ``POST /classify`` for the text, and its words."""

    model: str = Field(description="Name and version of the model.")
    words: list[WordInfluence] = Field(description="Every word, in the order of the text.")


def response(application: Application, text: str, explanation: Explanation) -> dict[str, Any]:
    """The response, as :class:`ExplainResponse` describes it, in plain dicts and lists.

    The influence is the difference of two scores rounded as in ``/classify``, so that a client can check it.
    """
    whole = result(explanation.prediction)
    words = []
    for word in explanation.words:
        influence = round(whole["score"] - round(word.score_without, SCORE_DIGITS), SCORE_DIGITS)
        words.append(
            {
                "text": text[word.start : word.end],
                "start": word.start,
                "end": word.end,
                "influence": influence,
                "log_odds": round(word.log_odds, SCORE_DIGITS),
            }
        )
    return {"model": application.tag, **whole, "words": words}


async def _explain(application: Application, request: Request) -> Response:
    text = read(ExplainRequest, request.body, PROBLEMS, application.settings.max_texts).text
    explanation = await explain(application, text)
    return Response(dump(response(application, text, explanation)), classified=explanation.classified)


describe = post(
    "Classify a text, with the influence of each word",
    request=ExplainRequest,
    answer=ExplainResponse,
    error=ErrorResponse,
)
EXPLAIN = HttpProtocol(
    "explain",
    [Route("POST", "/explain", _explain, describe)],
    error_body,
    schemas=lambda _: schemas(ExplainRequest, ExplainResponse, ErrorResponse),
    title="Explanation",
)
