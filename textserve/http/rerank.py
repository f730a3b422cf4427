"""``POST /v1/rerank`` and ``/v2/rerank`` of Cohere, Jina and vLLM, for a model that scores pairs with a number.

https://docs.cohere.com/reference/rerank, https://jina.ai/reranker, vLLM's ``entrypoints/pooling/scoring/protocol.py``:
the response has the keys that clients of all three read. A score is the sigmoid of the logit, from 0 to 1 like theirs.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from textserve import oip
from textserve.application import Application
from textserve.errors import InvalidRequest, TextserveError, UnknownModel
from textserve.http.formats import SCORE_DIGITS, TopK, messages, read_for
from textserve.http.router import HttpProtocol, Request, Response, Route, dump
from textserve.http.schemas import ELSEWHERE, TEXT, array, post, resolved, schemas
from textserve.reranking import check_reranks, rank, reranks

EXAMPLE = '{"query": "…", "documents": ["…"]}'
PROBLEMS = messages(
    f"is missing; send {EXAMPLE}",
    f"must be an object: {EXAMPLE}",
    list_type="must be a list of strings",
    greater_than_equal="must be at least 1",
)


class RankingRequest(BaseModel):
    """The body of ``POST /v1/rerank``. Unknown keys are ignored."""

    model_config = ConfigDict(strict=True)

    model: Annotated[str | None, WithJsonSchema({ELSEWHERE: "Reranker"})] = Field(
        None, description="Name of the served model, with or without its version."
    )
    query: Annotated[str, WithJsonSchema({"allOf": [TEXT]})]
    documents: Annotated[list[Any], WithJsonSchema({ELSEWHERE: "Documents"})] = Field(
        description="The texts to rank, each of which forms a pair with the query."
    )
    top_n: TopK | None = Field(None, description="Number of documents, the highest score first; all by default.")
    return_documents: bool | None = Field(None, description="Return each text beside its score.")


class Document(BaseModel):
    """A document of the request."""

    text: str


class RankedDocument(BaseModel):
    """A document and how well it fits the query."""

    index: int = Field(ge=0, description="Index of the document in the request.")
    relevance_score: float
    document: Document | None = Field(None, description="The document, if the request asks for it.")


class RankingUsage(BaseModel):
    """Tokens that the model read."""

    prompt_tokens: int
    total_tokens: int


class RankingResponse(BaseModel):
    """The response of ``POST /v1/rerank``."""

    id: str
    model: str = Field(description="The served model's name.")
    results: list[RankedDocument] = Field(description="The highest score first.")
    usage: RankingUsage = Field(description="The tokens as Jina and vLLM report them.")
    meta: dict[str, Any] = Field(description="The tokens as Cohere reports them.")


class RankingError(BaseModel):
    """The body of an error: the message under Cohere's key, and under Jina's."""

    message: str
    detail: str


def _texts(documents: list[Any]) -> list[str]:
    texts = []
    for index, document in enumerate(documents):
        text = document.get("text") if isinstance(document, dict) else document
        if not isinstance(text, str):
            raise InvalidRequest('must be a string or {"text": "…"}', where=f"documents[{index}]")
        texts.append(text)
    return texts


async def _rerank(application: Application, request: Request) -> Response:
    spec = application.classifier.spec
    check_reranks(spec, "/classify")
    wanted = read_for(application, RankingRequest, request.body, PROBLEMS)
    if wanted.model:
        oip.check_model(application, *wanted.model.split(":", 1))
    texts = _texts(wanted.documents)
    ranking = await rank(application, wanted.query, texts, name="documents")
    results = [
        {"index": index, "relevance_score": round(ranking.scores[index], SCORE_DIGITS)}
        | ({"document": {"text": texts[index]}} if wanted.return_documents else {})
        for index in ranking.best[: wanted.top_n]
    ]
    tokens = ranking.classified.tokens
    content = {
        "id": request.id,
        "model": spec.name,
        "results": results,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        "meta": {"tokens": {"input_tokens": tokens, "output_tokens": 0}},
    }
    return Response(dump(content), classified=ranking.classified)


def _error_body(error: TextserveError) -> bytes:
    return dump({"message": error.full_message, "detail": error.full_message})


def _schemas(application: Application) -> dict[str, Any]:
    spec = application.classifier.spec
    if not reranks(spec):
        return {}
    document = {"oneOf": [TEXT, {"type": "object", "required": ["text"], "properties": {"text": TEXT}}]}
    return {
        **schemas(RankingRequest, RankingResponse, RankingError),
        "Reranker": {"enum": [spec.name, application.tag, "", None]},
        "Documents": resolved(array(document, application.max_texts)),
    }


_post = post(
    "Rank documents by how well they fit a query, as Cohere and Jina do",
    request=RankingRequest,
    answer=RankingResponse,
    error=RankingError,
    more=[UnknownModel],
)


def describe(application: Application) -> dict[str, Any]:
    """``POST`` of a query and documents; empty for a model that does not rank."""
    return _post(application) if reranks(application.classifier.spec) else {}


RERANK = HttpProtocol(
    "rerank",
    [Route("POST", path, _rerank, describe) for path in ("/v1/rerank", "/v2/rerank")],
    _error_body,
    schemas=_schemas,
    title="Cohere and Jina rerank",
)
