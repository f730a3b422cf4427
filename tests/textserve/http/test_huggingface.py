from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.asgi import MEANINGS, Serve
from tests.server import Server, serve
from textserve.errors import InvalidRequest, Overloaded, TextserveError
from textserve.http.formats import read
from textserve.http.huggingface import HUGGINGFACE, PROBLEMS, InferenceRequest
from textserve.runner import Prediction

LOGITS = [-1.0, 0.5, 2.0]
PROBABILITIES = [math.exp(logit) / sum(map(math.exp, LOGITS)) for logit in LOGITS]
ANSWER = [Prediction(MEANINGS, PROBABILITIES, tokens=3, truncated=False, logits=LOGITS)]


@pytest.fixture
def huggingface(serve: Serve) -> Serve:
    return partial(serve, HUGGINGFACE, ANSWER)


def error_of(answer: httpx.Response) -> str:
    content = answer.json()
    assert list(content) == ["error"]
    error: str = content["error"]
    return error


def scores(answer: httpx.Response) -> dict[str, float]:
    ((*labels,),) = answer.json()
    return {one["label"]: one["score"] for one in labels}


def test_one_text_is_answered_with_every_label_the_best_first(huggingface: Serve) -> None:
    client = huggingface()
    answer = client.post("/", {"inputs": "Świetnie!"})
    assert answer.status_code == 200
    assert answer.json() == [
        [
            {"label": "positive", "score": round(PROBABILITIES[2], 6)},
            {"label": "neutral", "score": round(PROBABILITIES[1], 6)},
            {"label": "negative", "score": round(PROBABILITIES[0], 6)},
        ]
    ]
    assert client.runner.asked == [["Świetnie!"]]
    assert answer.headers["x-compute-tokens"] == "3"


def test_several_texts_are_answered_in_their_order(serve: Serve) -> None:
    predictions = [
        Prediction(MEANINGS, row, tokens=1, truncated=False, logits=row) for row in ([0.6, 0.3, 0.1], [0.1, 0.2, 0.7])
    ]
    client = serve(HUGGINGFACE, predictions)
    answer = client.post("/", {"inputs": ["a", "b"]})
    assert [labels[0]["label"] for labels in answer.json()] == ["negative", "positive"]
    assert client.runner.asked == [["a", "b"]]


@pytest.mark.parametrize(("top_k", "labels"), [(1, 1), (2, 2), (2.0, 2), (3, 3), (99, 3), (None, 3)])
def test_top_k_leaves_the_best_labels(huggingface: Serve, top_k: float | None, labels: int) -> None:
    answer = huggingface().post("/", {"inputs": "a", "parameters": {"top_k": top_k}})
    assert list(scores(answer)) == ["positive", "neutral", "negative"][:labels]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (None, PROBABILITIES),
        ("softmax", PROBABILITIES),
        ("sigmoid", [1 / (1 + math.exp(-logit)) for logit in LOGITS]),
        ("none", LOGITS),
    ],
)
def test_the_function_that_is_asked_for_makes_the_scores(
    huggingface: Serve, function: str | None, expected: list[float]
) -> None:
    answer = huggingface().post("/", {"inputs": "a", "parameters": {"function_to_apply": function}})
    by_label = dict(zip(("negative", "neutral", "positive"), expected, strict=True))
    assert scores(answer) == pytest.approx(by_label, abs=1e-6)


def test_a_logit_too_large_for_an_exponential_has_a_sigmoid(serve: Serve) -> None:
    extreme = [Prediction(MEANINGS, [0.0, 0.0, 1.0], tokens=1, truncated=False, logits=[-2000.0, 0.0, 2000.0])]
    answer = serve(HUGGINGFACE, extreme).post("/", {"inputs": "a", "parameters": {"function_to_apply": "sigmoid"}})
    assert scores(answer) == {"positive": 1.0, "neutral": 0.5, "negative": 0.0}


@pytest.mark.parametrize(("truncation", "expected"), [(None, "right"), (True, "right"), (False, None)])
def test_a_long_text_is_cut_off_unless_truncation_is_switched_off(
    huggingface: Serve, truncation: bool | None, expected: str | None
) -> None:
    client = huggingface()
    client.post("/", {"inputs": "a", "parameters": {"truncation": truncation}})
    assert client.runner.truncations == [expected]


def test_options_of_the_hosted_service_change_nothing(huggingface: Serve) -> None:
    answer = huggingface().post("/", {"inputs": "a", "options": {"use_cache": False, "wait_for_model": True}})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"", "body"),
        (b"nonsense", "body"),
        (b'["a"]', "body"),
        (b'{"inputs":"\xff"}', "body"),
        (b"{}", "inputs"),
        (b'{"inputs":null}', "inputs"),
        (b'{"inputs":{"text":"a"}}', "inputs"),
        (b'{"inputs":["a",1]}', "inputs[1]"),
        (b'{"inputs":[["a"]]}', "inputs[0]"),
        (b'{"inputs":"a","parameters":[]}', "parameters"),
        (b'{"inputs":"a","parameters":{"top_k":0}}', "parameters.top_k"),
        (b'{"inputs":"a","parameters":{"top_k":1.5}}', "parameters.top_k"),
        (b'{"inputs":"a","parameters":{"top_k":"2"}}', "parameters.top_k"),
        (b'{"inputs":"a","parameters":{"top_k":true}}', "parameters.top_k"),
        (b'{"inputs":"a","parameters":{"function_to_apply":"relu"}}', "parameters.function_to_apply"),
        (b'{"inputs":"a","parameters":{"truncation":"longest_first"}}', "parameters.truncation"),
        (b'{"inputs":"a","parameters":{"topk":2}}', "parameters.topk"),
        (b'{"inputs":"a","texts":["b"]}', "texts"),
    ],
)
def test_a_body_that_is_not_as_documented_is_refused_with_the_place(
    huggingface: Serve, body: bytes, where: str
) -> None:
    client = huggingface()
    answer = client.post("/", body)
    assert answer.status_code == 400
    assert error_of(answer).startswith(f"`{where}` ")
    assert client.runner.asked == []


@pytest.mark.parametrize(
    ("inputs", "status", "where"),
    [
        (" ", 400, "inputs"),
        ([], 400, "inputs"),
        (["a", ""], 400, "inputs[1]"),
        ("a" * 6, 413, "inputs"),
        (["a", "a" * 6], 413, "inputs[1]"),
        (["a", "b", "c"], 413, "inputs"),
    ],
)
def test_what_is_beyond_the_limits_is_named_as_the_caller_knows_it(
    huggingface: Serve, inputs: str | list[str], status: int, where: str
) -> None:
    answer = huggingface(max_texts=2, max_characters=5).post("/", {"inputs": inputs})
    assert answer.status_code == status
    assert error_of(answer).startswith(f"`{where}` ")


@pytest.mark.parametrize("kind", TextserveError.__subclasses__())
def test_an_error_has_its_own_status_and_one_line(serve: Serve, kind: type[TextserveError]) -> None:
    answer = serve(HUGGINGFACE, kind("cannot be done")).post("/", {"inputs": "a"})
    assert (answer.status_code, error_of(answer)) == (kind.status, "cannot be done")


def test_an_overloaded_service_says_when_to_come_back(serve: Serve) -> None:
    answer = serve(HUGGINGFACE, Overloaded("come back later", retry_after=3)).post("/", {"inputs": "a"})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3")


def test_a_refused_text_is_neither_answered_nor_logged(huggingface: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for body in (b'{"inputs":"tajemnica"', b'{"inputs":["tajemnica",1]}', b'{"inputs":{"tajemnica":"tajemnica"}}'):
        assert "tajemnica" not in huggingface().post("/", body).text
    assert "tajemnica" not in caplog.text


@settings(deadline=None)
@given(
    inputs=st.text() | st.lists(st.text(), max_size=4),
    top_k=st.none() | st.integers(1, 9),
    function=st.sampled_from([None, "softmax", "sigmoid", "none"]),
)
def test_what_is_asked_is_read_as_it_was_written(inputs: object, top_k: int | None, function: str | None) -> None:
    asked = {"inputs": inputs, "parameters": {"top_k": top_k, "function_to_apply": function}}
    assert read(InferenceRequest, json.dumps(asked).encode(), PROBLEMS) == InferenceRequest.model_validate(asked)


@settings(deadline=None)
@given(body=st.binary(max_size=40) | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps))
def test_any_body_is_read_or_refused_with_the_place(body: bytes | str) -> None:
    where: str | None = "nowhere: it was read"
    try:
        read(InferenceRequest, body if isinstance(body, bytes) else f'{{"inputs":{body}}}'.encode(), PROBLEMS)
    except InvalidRequest as refusal:
        where = refusal.where
    assert where


@pytest.fixture(scope="module")
def server(store: Path) -> Iterator[Server]:
    with serve(store, TEXTSERVE_API_KEYS="open-sesame") as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Server) -> InferenceClient:
    return InferenceClient(server.url, token="open-sesame")  # noqa: S106  # the key of this server only


def test_hugging_faces_own_client_is_answered(client: InferenceClient) -> None:
    answer = client.text_classification("Jestem zachwycona, wspaniała obsługa.")
    assert answer[0].label == "positive"
    assert {one.label for one in answer} == {"negative", "neutral", "positive"}
    assert [one.score for one in answer] == sorted((one.score for one in answer), reverse=True)
    assert sum(one.score for one in answer) == pytest.approx(1, abs=1e-5)


def test_its_answers_are_those_of_the_native_protocol(server: Server, client: InferenceClient) -> None:
    text = "The report covers the third quarter."
    headers = {"authorization": "Bearer open-sesame"}
    native = httpx.post(f"{server.url}/classify", json={"texts": [text]}, headers=headers).json()["results"][0]
    assert {one.label: one.score for one in client.text_classification(text)} == native["scores"]


@pytest.mark.parametrize("function", ["softmax", "sigmoid", "none"])
def test_the_clients_parameters_are_taken(
    client: InferenceClient, function: Literal["softmax", "sigmoid", "none"]
) -> None:
    text = "To był najgorszy film, jaki widziałem."
    (best,) = client.text_classification(text, top_k=1, function_to_apply=function)
    assert best.label == "negative"
    logits = {one.label: one.score for one in client.text_classification(text, function_to_apply="none")}
    powers = {label: math.exp(logit) for label, logit in logits.items()}
    expected = {
        "softmax": powers["negative"] / sum(powers.values()),
        "sigmoid": powers["negative"] / (1 + powers["negative"]),
        "none": logits["negative"],
    }
    assert best.score == pytest.approx(expected[function], abs=1e-5)


def test_the_client_is_told_what_was_wrong(client: InferenceClient) -> None:
    with pytest.raises(HfHubHTTPError) as refusal:
        client.text_classification(" ")
    assert refusal.value.response is not None
    assert refusal.value.response.status_code == 400
    assert "`inputs` is empty or only white space" in refusal.value.response.text


def test_the_client_with_another_key_is_refused(server: Server) -> None:
    with pytest.raises(HfHubHTTPError) as refusal:
        InferenceClient(server.url, token="guessed").text_classification("a")  # noqa: S106  # nobody's
    assert refusal.value.response is not None
    assert refusal.value.response.status_code == 401
    assert refusal.value.response.headers["www-authenticate"] == "Bearer"


def test_a_batch_that_a_pipeline_would_take_is_answered(server: Server) -> None:
    headers: dict[str, Any] = {"authorization": "Bearer open-sesame"}
    body = {"inputs": ["Great!", "Awful!"], "parameters": {"top_k": 1}}
    answer = httpx.post(server.url, json=body, headers=headers).json()
    assert [[one["label"] for one in labels] for labels in answer] == [["positive"], ["negative"]]
