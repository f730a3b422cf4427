"""The shapes are those of Cohere's and Jina's references and of vLLM's entrypoints/pooling/scoring/protocol.py."""

from __future__ import annotations

from typing import Any

import pytest

from tests.asgi import Client, Serve
from tests.specs import SPECS, predictions, some
from textserve.http.rerank import RERANK

SPEC = SPECS["pair number"]


@pytest.fixture
def client(serve: Serve) -> Client:
    return serve(RERANK, predictions(SPEC, [-2.0], [3.0], [0.5]), SPEC)


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank"])
def test_documents_are_ranked_by_their_relevance_to_the_query(client: Client, path: str) -> None:
    body = {"model": "fake", "query": "q", "documents": ["x", {"text": "y", "id": 7}, "z"], "max_tokens_per_doc": 4096}
    answer = client.post(path, body, {"x-request-id": "mine"})
    assert answer.status_code == 200
    assert answer.json() == {
        "id": "mine",
        "model": "fake",
        "results": [
            {"index": 1, "relevance_score": 0.952574},
            {"index": 2, "relevance_score": 0.622459},
            {"index": 0, "relevance_score": 0.119203},
        ],
        "usage": {"prompt_tokens": 9, "total_tokens": 9},
        "meta": {"tokens": {"input_tokens": 9, "output_tokens": 0}},
    }
    assert client.runner.asked == [[("q", "x"), ("q", "y"), ("q", "z")]]
    assert client.runner.truncations == ["right"]


def test_top_n_and_the_documents_are_returned_if_asked_for(client: Client) -> None:
    body = {"query": "q", "documents": ["x", {"text": "y"}, "z"], "top_n": 2, "return_documents": True}
    assert client.post("/v1/rerank", body).json()["results"] == [
        {"index": 1, "relevance_score": 0.952574, "document": {"text": "y"}},
        {"index": 2, "relevance_score": 0.622459, "document": {"text": "z"}},
    ]


@pytest.mark.parametrize(
    ("name", "body", "status", "message"),
    [
        ("pair", {"query": "secret", "documents": ["x"]}, 400, "path is for a model that scores pairs"),
        ("number", {"query": "secret", "documents": ["x"]}, 400, "path is for a model that scores pairs"),
        ("single", {"query": "secret", "documents": ["x"]}, 400, "path is for a model that scores pairs"),
        ("pair number", {"query": " ", "documents": ["secret"]}, 400, "query is empty"),
        ("pair number", {"query": "q", "documents": ["secret", " "]}, 400, "documents[1] is empty"),
        ("pair number", {"query": "q", "documents": []}, 400, "documents is empty"),
        ("pair number", {"query": "q", "documents": ["secret", 1]}, 400, "documents[1] must be a string"),
        ("pair number", {"query": "q", "documents": [{"title": "secret"}]}, 400, "documents[0] must be a string"),
        ("pair number", {"query": "q", "documents": ["secret"], "top_n": 0}, 400, "top_n must be at least 1"),
        ("pair number", {"query": "q"}, 400, "documents is missing"),
        ("pair number", {"model": "other", "query": "q", "documents": ["secret"]}, 404, "fake is"),
    ],
)
def test_what_cannot_be_ranked_is_rejected(serve: Serve, name: str, body: Any, status: int, message: str) -> None:
    client = serve(RERANK, some(SPECS[name]), SPECS[name])
    answer = client.post("/v1/rerank", body)
    assert answer.status_code == status
    assert list(answer.json()) == ["message", "detail"]
    assert message in answer.json()["message"]
    assert "secret" not in answer.text
    assert client.runner.asked == []
