"""``POST /explain``: how far the winning label's score falls when a word of the text is left out.

Its bodies and errors have the shapes of :mod:`textserve.http.native`. ``docs/explain.md`` says how to read it.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema

from textserve.application import Application
from textserve.explanation import Explanation, explain
from textserve.http.native import PROBLEMS, SCORE_DIGITS, RefusalResponse, Result, invalid, refuse, result
from textserve.http.router import Description, HttpProtocol, Request, Response, dump
from textserve.http.schemas import TEXT, operation, reference, schemas

EXAMPLE = '{"text": "…"}'
EXPLAIN_PROBLEMS = PROBLEMS | {
    "missing": f"is missing; send {EXAMPLE}",
    "extra_forbidden": "is not a known key; the only one is text",
    "model_type": f"must be an object: {EXAMPLE}",
    "model_attributes_type": f"must be an object: {EXAMPLE}",
}


class ExplainRequest(BaseModel):
    """The body of ``POST /explain``."""

    model_config = ConfigDict(extra="forbid")

    # In a list of one: pydantic adds a title, and it looks up a reference that has something beside it.
    text: Annotated[str, WithJsonSchema({"allOf": [TEXT]})]


class WordInfluence(BaseModel):
    """One word of the text."""

    text: str = Field(description="The word as it stands in the text.")
    start: int = Field(description="Where it starts, in Unicode code points from 0.")
    end: int = Field(description="Where it ends, the first code point that is not part of it.")
    influence: float = Field(
        description="The score of the label minus its score for the text without this word: above 0 the word speaks "
        "for the label, below 0 against it."
    )


class ExplainResponse(Result):
    """The answer of ``POST /explain``: that of ``POST /classify`` for the text, and its words."""

    model: str = Field(description="Name and version of the model that answered.")
    words: list[WordInfluence] = Field(description="Every word, in the order of the text.")


def response(application: Application, text: str, explanation: Explanation) -> dict[str, Any]:
    """The answer, as :class:`ExplainResponse` describes it, in plain dicts and lists.

    The influence is the difference of two scores as ``/classify`` rounds them, so that it can be checked by asking.
    """
    answer = result(explanation.prediction)
    words = []
    for explained in explanation.words:
        start, end = explained.word.start, explained.word.end
        influence = round(answer["score"] - round(explained.score_without, SCORE_DIGITS), SCORE_DIGITS)
        words.append({"text": text[start:end], "start": start, "end": end, "influence": influence})
    return {"model": application.tag, **answer, "words": words}


def parse(body: bytes) -> str:
    """The text of a request's body.

    Raises:
        InvalidRequest: naming the first part of the body that is not as documented.
    """
    try:
        return ExplainRequest.model_validate_json(body).text
    except ValidationError as error:
        raise invalid(error, EXPLAIN_PROBLEMS) from None


async def _explain(application: Application, request: Request) -> Response:
    text = parse(request.body)
    explanation = await explain(application, text)
    return Response(dump(response(application, text, explanation)), classified=explanation.classified)


def _describe(application: Application) -> Description:
    post = operation(
        application,
        f"Classify a text of at most {application.settings.max_explained_words} words, and say what each adds",
        request=reference(ExplainRequest),
        answer=reference(ExplainResponse),
        error=RefusalResponse,
    )
    return Description({"/explain": {"post": post}}, schemas(ExplainRequest, ExplainResponse, RefusalResponse))


EXPLAIN = HttpProtocol("explain", {("POST", "/explain"): _explain}, refuse, describe=_describe)
