from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Literal

import httpx
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

from tests.asgi import LABELS, SPEC, Serve
from tests.server import Server, serve
from textserve.http.huggingface import HUGGINGFACE
from textserve.prediction import Prediction

LOGITS = [-1.0, 0.5, 2.0]
PROBABILITIES = [math.exp(logit) / sum(map(math.exp, LOGITS)) for logit in LOGITS]
ANSWER = [Prediction(SPEC, PROBABILITIES, tokens=3, truncated=False, logits=LOGITS)]


@pytest.fixture
def huggingface(serve: Serve) -> Serve:
    return partial(serve, HUGGINGFACE, ANSWER)


def scores(answer: httpx.Response) -> dict[str, float]:
    ((*labels,),) = answer.json()
    return {label["label"]: label["score"] for label in labels}


def test_a_text_is_answered_with_every_label_the_highest_score_first(huggingface: Serve) -> None:
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


def test_texts_are_answered_in_order(serve: Serve) -> None:
    predictions = [
        Prediction(SPEC, row, tokens=1, truncated=False, logits=row) for row in ([0.6, 0.3, 0.1], [0.1, 0.2, 0.7])
    ]
    client = serve(HUGGINGFACE, predictions)
    answer = client.post("/", {"inputs": ["a", "b"]})
    assert [labels[0]["label"] for labels in answer.json()] == ["negative", "positive"]
    assert client.runner.asked == [["a", "b"]]


@pytest.mark.parametrize(("top_k", "labels"), [(1, 1), (2, 2), (2.0, 2), (3, 3), (99, 3), (None, 3)])
def test_top_k_limits_the_labels(huggingface: Serve, top_k: float | None, labels: int) -> None:
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
def test_the_requested_function_computes_the_scores(
    huggingface: Serve, function: str | None, expected: list[float]
) -> None:
    answer = huggingface().post("/", {"inputs": "a", "parameters": {"function_to_apply": function}})
    assert scores(answer) == pytest.approx(dict(zip(LABELS, expected, strict=True)), abs=1e-6)


def test_the_sigmoid_of_an_extreme_logit_does_not_overflow(serve: Serve) -> None:
    extreme = [Prediction(SPEC, [0.0, 0.0, 1.0], tokens=1, truncated=False, logits=[-2000.0, 0.0, 2000.0])]
    answer = serve(HUGGINGFACE, extreme).post("/", {"inputs": "a", "parameters": {"function_to_apply": "sigmoid"}})
    assert scores(answer) == {"positive": 1.0, "neutral": 0.5, "negative": 0.0}


@pytest.mark.parametrize(("truncation", "expected"), [(None, "right"), (True, "right"), (False, None)])
def test_a_long_text_is_truncated_unless_the_request_disables_it(
    huggingface: Serve, truncation: bool | None, expected: str | None
) -> None:
    client = huggingface()
    client.post("/", {"inputs": "a", "parameters": {"truncation": truncation}})
    assert client.runner.truncations == [expected]


def test_options_of_the_hosted_service_have_no_effect(huggingface: Serve) -> None:
    answer = huggingface().post("/", {"inputs": "a", "options": {"use_cache": False, "wait_for_model": True}})
    assert answer.status_code == 200


@pytest.fixture(scope="module")
def server(store: Path) -> Iterator[Server]:
    with serve(store, TEXTSERVE_API_KEYS="open-sesame-1234") as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Server) -> InferenceClient:
    return InferenceClient(server.url, token="open-sesame-1234")  # noqa: S106  # the key of this server only


def test_hugging_faces_client_reads_every_label(client: InferenceClient) -> None:
    answer = client.text_classification("Jestem zachwycona, wspaniała obsługa.")
    assert answer[0].label == "positive"
    assert {label.label for label in answer} == {"negative", "neutral", "positive"}
    assert [label.score for label in answer] == sorted((label.score for label in answer), reverse=True)
    assert sum(label.score for label in answer) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("function", ["softmax", "sigmoid", "none"])
def test_hugging_faces_client_sends_parameters(
    client: InferenceClient, function: Literal["softmax", "sigmoid", "none"]
) -> None:
    text = "To był najgorszy film, jaki widziałem."
    (best,) = client.text_classification(text, top_k=1, function_to_apply=function)
    assert best.label == "negative"
    logits = {label.label: label.score for label in client.text_classification(text, function_to_apply="none")}
    powers = {label: math.exp(logit) for label, logit in logits.items()}
    expected = {
        "softmax": powers["negative"] / sum(powers.values()),
        "sigmoid": powers["negative"] / (1 + powers["negative"]),
        "none": logits["negative"],
    }
    assert best.score == pytest.approx(expected[function], abs=1e-5)


@pytest.mark.parametrize(
    ("key", "text", "status", "message"),
    [
        ("open-sesame-1234", " ", 400, "`inputs` is empty"),
        ("guessed", "a", 401, "`authorization` is not one of the keys"),
    ],
)
def test_hugging_faces_client_raises_the_error(server: Server, key: str, text: str, status: int, message: str) -> None:
    with pytest.raises(HfHubHTTPError) as error:
        InferenceClient(server.url, token=key).text_classification(text)
    assert error.value.response is not None
    assert error.value.response.status_code == status
    assert message in error.value.response.text
