"""The shapes are those of vLLM's entrypoints/pooling/classify/protocol.py, with our labels."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from tests.asgi import SPEC, Client, Serve
from tests.specs import SPECS, some
from textserve.http.native import NATIVE
from textserve.http.router import HttpProtocols
from textserve.http.vllm import VLLM
from textserve.prediction import Prediction

PROBS = [0.1, 0.2, 0.7]


@pytest.fixture
def vllm(serve: Serve) -> Serve:
    return partial(serve, VLLM)


@pytest.mark.parametrize("path", ["/classify", "/v1/classify"])
@pytest.mark.parametrize(("texts", "asked"), [("a b", ["a b"]), (["a", "b"], ["a", "b"])])
def test_the_answer_has_the_shape_of_vllms(vllm: Serve, path: str, texts: Any, asked: list[str]) -> None:
    client = vllm()
    body = {"model": "sentiment-pl-en", "input": texts, "user": "u", "priority": 0, "add_special_tokens": True}
    answer = client.post(path, body, {"x-request-id": "mine"})
    assert answer.status_code == 200
    content = answer.json()
    assert isinstance(content.pop("created"), int)
    tokens = 3 * len(asked)
    assert content == {
        "id": "classify-mine",
        "object": "list",
        "model": "sentiment-pl-en",
        "data": [
            {"index": index, "label": "positive", "probs": PROBS, "num_classes": 3} for index in range(len(asked))
        ],
        "usage": {
            "prompt_tokens": tokens,
            "total_tokens": tokens,
            "completion_tokens": 0,
            "prompt_tokens_details": None,
        },
    }
    assert client.runner.asked == [asked]
    assert client.outcomes() == {"ok": 1}


@pytest.mark.parametrize(
    ("name", "label", "probs"),
    [
        ("single", "spam", [0.119203, 0.880797]),
        ("several", "spam", [0.731059, 0.119203, 0.952574]),
        ("number", "stars", [1.5]),
    ],
)
def test_every_shape_of_single_texts_is_answered(serve: Serve, name: str, label: str, probs: list[float]) -> None:
    answer = serve(VLLM, some(SPECS[name]), SPECS[name]).post("/v1/classify", {"input": "a"}).json()
    (found,) = answer["data"]
    assert found == {"index": 0, "label": label, "probs": probs, "num_classes": len(probs)}


@pytest.mark.parametrize(("use_activation", "probs"), [(None, PROBS), (True, PROBS), (False, [-1.0, -0.5, 2.0])])
def test_without_its_activation_the_model_answers_logits(
    vllm: Serve, use_activation: bool | None, probs: list[float]
) -> None:
    answer = vllm().post("/v1/classify", {"input": "a", "use_activation": use_activation}).json()
    assert answer["data"][0]["probs"] == probs


@pytest.mark.parametrize(("tokens", "side"), [(None, None), (-1, "right"), (512, "right"), (10**6, "right")])
def test_a_long_text_is_rejected_unless_truncation_is_requested(
    vllm: Serve, tokens: int | None, side: str | None
) -> None:
    client = vllm()
    body = {"input": "a", "truncate_prompt_tokens": tokens}
    assert client.post("/v1/classify", body).status_code == 200
    assert client.runner.truncations == [side]


@pytest.mark.parametrize(
    ("spec", "body", "status", "param", "message"),
    [
        (None, {"model": "m"}, 400, "input", "is missing"),
        (None, {"messages": [{"role": "user", "content": "secret"}]}, 400, "input", "is missing"),
        (None, {"input": []}, 400, "input", "is empty"),
        (None, {"input": ["a", " "]}, 400, "input[1]", "is empty"),
        (None, {"input": " "}, 400, "input", "is empty"),
        (None, {"input": 1}, 400, "input", "must be a string or a list"),
        (None, {"input": [1, 2]}, 400, "input[0]", "token ids"),
        (None, {"input": "a", "truncate_prompt_tokens": 5}, 400, "truncate_prompt_tokens", "at least 512"),
        (None, {"input": "a", "truncate_prompt_tokens": -2}, 400, "truncate_prompt_tokens", "-1 or more"),
        (None, {"model": "other", "input": "secret"}, 404, "model", "sentiment-pl-en is"),
        (None, {"model": "sentiment-pl-en:9", "input": "secret"}, 404, "version", "is not served"),
        ("pair", {"input": "secret"}, 400, "input", "this model takes pairs"),
    ],
)
def test_an_error_has_the_shape_of_vllms(
    serve: Serve, spec: str | None, body: Any, status: int, param: str, message: str
) -> None:
    client = serve(VLLM, some(SPECS[spec]), SPECS[spec]) if spec else serve(VLLM)
    answer = client.post("/v1/classify", body)
    assert answer.status_code == status
    (error,) = answer.json().values()
    assert list(error) == ["message", "type", "param", "code"]
    assert (error["type"], error["param"], error["code"]) == (
        "NotFoundError" if status == 404 else "BadRequestError",
        param,
        status,
    )
    assert message in error["message"]
    assert "secret" not in answer.text
    assert client.runner.asked == []


def test_the_models_are_those_that_can_be_asked(vllm: Serve) -> None:
    client = vllm()
    (model,) = client.request("GET", "/v1/models").json()["data"]
    assert (model["object"], model["root"], model["max_model_len"]) == ("model", "tiny:1", 512)
    assert client.post("/v1/classify", {"model": model["id"], "input": "a"}).status_code == 200


# One path, two protocols.


@pytest.fixture
def both(serve: Serve) -> Client:
    client = serve(NATIVE)
    client.app = HttpProtocols(client._wrapped, lambda: client.application, [NATIVE, VLLM])
    return client


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (b'{"texts": ["a"]}', "results"),
        (b'{"input": ["a"]}', "data"),
        (b'{"input"\n : "a", "texts": ["b"]}', "data"),
        (b'{"texts": ["input", ": \\"input\\": 1", "a\\\\"]}', "results"),
        (b'{"texts": ["a\\", \\"input\\": \\"b"]}', "results"),
    ],
)
def test_classify_answers_in_the_protocol_whose_key_the_body_has(both: Client, body: bytes, key: str) -> None:
    answer = both.post("/classify", body)
    assert answer.status_code == 200, answer.text
    assert key in answer.json()


@pytest.mark.parametrize(("body", "key"), [({"input": ""}, "code"), ({"texts": [""]}, "where"), ({}, "where")])
def test_errors_of_classify_have_the_format_of_that_protocol(both: Client, body: Any, key: str) -> None:
    assert key in both.post("/classify", body).json()["error"]


def test_a_request_to_classify_is_counted_for_its_protocol(both: Client) -> None:
    both.post("/classify", {"texts": ["a"]})
    both.post("/classify", {"input": "a"})
    registry = both.application.metrics_registry
    for name in ("native", "vllm"):
        sample = {"protocol": name, "outcome": "ok"}
        assert registry.get_sample_value("textserve_requests_total", sample) == 1


def test_the_scores_are_rounded_as_in_every_protocol(vllm: Serve) -> None:
    prediction = Prediction(SPEC, [1 / 3, 1 / 3, 1 / 3], tokens=3, truncated=False)
    answer = vllm([prediction]).post("/v1/classify", {"input": "a"}).json()
    assert answer["data"][0]["probs"] == [0.333333] * 3
    assert answer["data"][0]["label"] == SPEC.label_names[0]
