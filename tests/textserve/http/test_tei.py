"""The recorded bodies are those of text-embeddings-inference's README and its OpenAPI document, with our labels."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from tests.asgi import SPEC, Serve
from textserve.http.tei import TEI
from textserve.prediction import Prediction

ANSWER = [Prediction(SPEC, [0.25, 0.15, 0.6], tokens=3, truncated=False, logits=[0.5, 0.0, 1.5])]
LABELS = [
    {"label": "positive", "score": 0.6},
    {"label": "negative", "score": 0.25},
    {"label": "neutral", "score": 0.15},
]
LOGITS = [
    {"label": "positive", "score": 1.5},
    {"label": "negative", "score": 0.5},
    {"label": "neutral", "score": 0.0},
]


@pytest.fixture
def tei(serve: Serve) -> Serve:
    return partial(serve, TEI, ANSWER)


@pytest.mark.parametrize(
    ("request_body", "texts", "answer"),
    [
        ({"inputs": "I like you."}, ["I like you."], LABELS),
        ({"inputs": ["I like you."]}, ["I like you."], LABELS),
        ({"inputs": [["I like you."], ["I hate pineapples"]]}, ["I like you.", "I hate pineapples"], [LABELS, LABELS]),
        ({"inputs": [["I like you."]]}, ["I like you."], [LABELS]),
        ({"inputs": "What is Deep Learning?", "raw_scores": True}, ["What is Deep Learning?"], LOGITS),
        ({"inputs": "a", "raw_scores": False, "truncate": False, "truncation_direction": "Right"}, ["a"], LABELS),
        ({"inputs": "a", "truncate": None, "normalize": True}, ["a"], LABELS),
    ],
)
def test_a_recorded_request_gets_the_recorded_answer(
    tei: Serve, request_body: dict[str, Any], texts: list[str], answer: list[Any]
) -> None:
    client = tei()
    response = client.post("/predict", request_body)
    assert response.status_code == 200
    assert response.json() == answer
    assert client.runner.asked == [texts]


@pytest.mark.parametrize(
    ("truncation", "side"),
    [
        ({}, None),
        ({"truncate": False}, None),
        ({"truncate": None}, None),
        ({"truncate": False, "truncation_direction": "Left"}, None),
        ({"truncate": True}, "right"),
        ({"truncate": True, "truncation_direction": "Right"}, "right"),
        ({"truncate": True, "truncation_direction": "right"}, "right"),
        ({"truncate": True, "truncation_direction": "Left"}, "left"),
        ({"truncate": True, "truncation_direction": "left"}, "left"),
    ],
)
def test_a_long_text_is_truncated_only_if_requested_and_on_the_requested_side(
    tei: Serve, truncation: dict[str, Any], side: str | None
) -> None:
    client = tei()
    assert client.post("/predict", {"inputs": "a", **truncation}).status_code == 200
    assert client.runner.truncations == [side]


def test_info_has_the_documented_keys_and_describes_the_model(tei: Serve) -> None:
    client = tei(max_texts=7, max_batch_tokens=64, max_batch_texts=5)
    answer = client.request("GET", "/info")
    assert answer.status_code == 200
    assert answer.json() == {
        "model_id": "sentiment-pl-en",
        "model_sha": "1",
        "model_dtype": "int8",
        "served_model_name": "tiny",
        "model_type": {
            "classifier": {
                "id2label": {"0": "negative", "1": "neutral", "2": "positive"},
                "label2id": {"negative": 0, "neutral": 1, "positive": 2},
            }
        },
        "max_concurrent_requests": 200_000,
        "max_input_length": 512,
        "max_batch_tokens": 64,
        "max_batch_requests": 5,
        "max_client_batch_size": 7,
        "auto_truncate": False,
        "tokenization_workers": 1,
        "version": "0.1.0",
        "sha": None,
        "docker_label": None,
    }
    assert client.outcomes() == {}
