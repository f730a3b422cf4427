"""The recorded bodies are those of text-embeddings-inference's README and its OpenAPI document, with our labels."""

from __future__ import annotations

import json
import logging
from functools import partial
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.asgi import MEANINGS, Serve
from textserve.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    EmptyInput,
    InputTooLong,
    Internal,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    NotReady,
    Overloaded,
    ShuttingDown,
    TextserveError,
    TextTooLong,
    TooManyTexts,
    Unauthorized,
    UnknownModel,
)
from textserve.http.formats import read
from textserve.http.tei import PROBLEMS, TEI, PredictRequest
from textserve.runner import Prediction

ANSWER = [Prediction(MEANINGS, [0.25, 0.15, 0.6], tokens=3, truncated=False, logits=[0.5, 0.0, 1.5])]
ERRORS: dict[type[TextserveError], tuple[int, str]] = {
    InvalidRequest: (422, "Validation"),
    TextTooLong: (422, "Validation"),
    InputTooLong: (422, "Validation"),
    EmptyInput: (400, "Empty"),
    TooManyTexts: (413, "Validation"),
    BodyTooLarge: (413, "Validation"),
    Overloaded: (429, "Overloaded"),
    Internal: (424, "Backend"),
    DeadlineExceeded: (424, "Backend"),
    NotReady: (503, "Unhealthy"),
    ShuttingDown: (503, "Unhealthy"),
    Unauthorized: (401, "Validation"),
    UnknownModel: (404, "Validation"),
    NotFound: (404, "Validation"),
    MethodNotAllowed: (405, "Validation"),
}
ONE = [
    {"label": "positive", "score": 0.6},
    {"label": "negative", "score": 0.25},
    {"label": "neutral", "score": 0.15},
]
RAW = [
    {"label": "positive", "score": 1.5},
    {"label": "negative", "score": 0.5},
    {"label": "neutral", "score": 0.0},
]


@pytest.fixture
def tei(serve: Serve) -> Serve:
    return partial(serve, TEI, ANSWER)


def error_of(answer: httpx.Response) -> tuple[str, str]:
    content = answer.json()
    assert list(content) == ["error", "error_type"]
    return content["error_type"], content["error"]


@pytest.mark.parametrize(
    ("request_body", "asked", "answer"),
    [
        ({"inputs": "I like you."}, ["I like you."], ONE),
        ({"inputs": ["I like you."]}, ["I like you."], ONE),
        ({"inputs": [["I like you."], ["I hate pineapples"]]}, ["I like you.", "I hate pineapples"], [ONE, ONE]),
        ({"inputs": [["I like you."]]}, ["I like you."], [ONE]),
        ({"inputs": "What is Deep Learning?", "raw_scores": True}, ["What is Deep Learning?"], RAW),
        (
            {
                "inputs": "What is Deep Learning?",
                "raw_scores": False,
                "truncate": False,
                "truncation_direction": "Right",
            },
            ["What is Deep Learning?"],
            ONE,
        ),
        ({"inputs": "a", "truncate": None, "normalize": True}, ["a"], ONE),
    ],
)
def test_a_recorded_request_gets_the_recorded_answer(
    tei: Serve, request_body: dict[str, Any], asked: list[str], answer: list[Any]
) -> None:
    client = tei()
    response = client.post("/predict", request_body)
    assert response.status_code == 200
    assert response.json() == answer
    assert client.runner.asked == [asked]


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
def test_a_long_text_is_cut_off_only_if_asked_and_on_the_side_asked(
    tei: Serve, truncation: dict[str, Any], side: str | None
) -> None:
    client = tei()
    assert client.post("/predict", {"inputs": "a", **truncation}).status_code == 200
    assert client.runner.truncations == [side]


@pytest.mark.parametrize(
    ("inputs", "where"), [(["a", "b"], "inputs"), ([["a", "b"]], "inputs[0]"), ([["a"], ["b", "c"]], "inputs[1]")]
)
def test_a_pair_is_refused_with_what_to_send_instead(tei: Serve, inputs: list[Any], where: str) -> None:
    client = tei()
    answer = client.post("/predict", {"inputs": inputs})
    assert answer.status_code == 422
    kind, error = error_of(answer)
    assert kind == "Validation"
    assert error.startswith(f"`{where}` is a pair")
    assert "[[…], […]]" in error
    assert client.runner.asked == []


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"", "body"),
        (b"[", "body"),
        (b'"a"', "body"),
        (b'{"inputs":"\xff"}', "body"),
        (b"{}", "inputs"),
        (b'{"inputs":null}', "inputs"),
        (b'{"inputs":7}', "inputs"),
        (b'{"inputs":["a",7]}', "inputs"),
        (b'{"inputs":["a","b","c"]}', "inputs"),
        (b'{"inputs":[7]}', "inputs[0]"),
        (b'{"inputs":[["a"],"b"]}', "inputs[1]"),
        (b'{"inputs":[["a"],[]]}', "inputs[1]"),
        (b'{"inputs":[["a",7]]}', "inputs[0]"),
        (b'{"inputs":[[["a"]]]}', "inputs[0]"),
        (b'{"inputs":"a","truncate":"yes"}', "truncate"),
        (b'{"inputs":"a","truncation_direction":"up"}', "truncation_direction"),
        (b'{"inputs":"a","raw_scores":1}', "raw_scores"),
    ],
)
def test_a_body_that_is_not_as_documented_is_a_validation_error(tei: Serve, body: bytes, where: str) -> None:
    client = tei()
    answer = client.post("/predict", body)
    assert answer.status_code == 422
    kind, error = error_of(answer)
    assert kind == "Validation"
    assert error.startswith(f"`{where}` ")
    assert client.runner.asked == []


@pytest.mark.parametrize(
    ("inputs", "status", "kind", "where"),
    [
        ("", 400, "Empty", "inputs"),
        ([], 400, "Empty", "inputs"),
        ([["a"], [" "]], 400, "Empty", "inputs[1]"),
        ("a" * 6, 422, "Validation", "inputs"),
        ([["a"], ["b"], ["c"]], 413, "Validation", "inputs"),
    ],
)
def test_what_is_beyond_the_limits_is_named_as_the_caller_knows_it(
    tei: Serve, inputs: Any, status: int, kind: str, where: str
) -> None:
    answer = tei(max_texts=2, max_characters=5).post("/predict", {"inputs": inputs})
    assert answer.status_code == status
    assert error_of(answer)[0] == kind
    assert error_of(answer)[1].startswith(f"`{where}` ")


@pytest.mark.parametrize("kind", TextserveError.__subclasses__())
def test_every_error_has_the_status_and_the_type_that_are_documented(serve: Serve, kind: type[TextserveError]) -> None:
    answer = serve(TEI, kind("cannot be done", retry_after=2)).post("/predict", {"inputs": "a"})
    assert (answer.status_code, error_of(answer)[0]) == ERRORS[kind]
    assert answer.headers["retry-after"] == "2"


def test_info_has_the_documented_keys_and_what_is_served(tei: Serve) -> None:
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


@pytest.mark.parametrize(("method", "path", "allowed"), [("GET", "/predict", "POST"), ("POST", "/info", "GET, HEAD")])
def test_another_method_is_refused_with_those_there_are(tei: Serve, method: str, path: str, allowed: str) -> None:
    answer = tei().request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    assert error_of(answer)[0] == "Validation"


def test_a_refused_text_is_neither_answered_nor_logged(tei: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for body in (b'{"inputs":"tajemnica"', b'{"inputs":["tajemnica","tajemnica"]}', b'{"inputs":[["tajemnica",1]]}'):
        assert "tajemnica" not in tei().post("/predict", body).text
    assert "tajemnica" not in caplog.text


@settings(deadline=None)
@given(body=st.binary(max_size=40) | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps))
def test_any_body_is_read_or_refused_with_the_place(body: bytes | str) -> None:
    where: str | None = "nowhere: it was read"
    try:
        read(PredictRequest, body if isinstance(body, bytes) else f'{{"inputs":{body}}}'.encode(), PROBLEMS)
    except InvalidRequest as refusal:
        where = refusal.where
    assert where
