"""The recorded bodies are those of the documentation of KServe, TensorFlow Serving, Vertex AI, SageMaker and MLflow."""

from __future__ import annotations

from typing import Any

import pytest

from tests.asgi import Client, Serve
from tests.specs import SPECS, some
from textserve.http.instances import INVOCATIONS, KSERVE_V1, vertex
from textserve.http.native import NATIVE
from textserve.http.router import HttpProtocol, HttpProtocols
from textserve.http.tei import TEI

PREDICT = "/v1/models/sentiment-pl-en:predict"
RESULT = {
    "label": "positive",
    "score": 0.7,
    "scores": {"negative": 0.1, "neutral": 0.2, "positive": 0.7},
    "tokens": 3,
    "truncated": False,
}
PAIR = {"text": "a", "text_pair": "b"}


@pytest.mark.parametrize(("protocol", "path"), [(KSERVE_V1, PREDICT), (INVOCATIONS, "/invocations")])
@pytest.mark.parametrize(
    ("body", "asked"),
    [
        ({"instances": ["a", "b"]}, ["a", "b"]),
        ({"signature_name": "serving_default", "instances": ["a"]}, ["a"]),
        ({"instances": [["a"], ["b"]]}, ["a", "b"]),
        ({"instances": [{"text": "a"}, {"review": "b"}]}, ["a", "b"]),
        ({"inputs": "a"}, ["a"]),
        ({"inputs": ["a", "b"]}, ["a", "b"]),
        ({"inputs": {"text": ["a", "b"]}}, ["a", "b"]),
        ({"inputs": {"text": "a"}}, ["a"]),
        ({"dataframe_split": {"index": [0, 1], "columns": ["text"], "data": [["a"], ["b"]]}}, ["a", "b"]),
        ({"dataframe_split": {"columns": [0], "data": [["a"]]}}, ["a"]),
        ({"dataframe_split": {"columns": [-0.5], "data": [["a"]]}}, ["a"]),
        ({"dataframe_records": [{"text": "a"}, {"text": "b"}]}, ["a", "b"]),
    ],
)
def test_a_recorded_request_gets_as_many_predictions(
    serve: Serve, protocol: HttpProtocol, path: str, body: Any, asked: list[str]
) -> None:
    client = serve(protocol)
    answer = client.post(path, body)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"predictions": [RESULT] * len(asked)}
    assert client.runner.asked == [asked]
    assert client.runner.truncations == ["right"]


@pytest.mark.parametrize("key", ["parameters", "params"])
def test_the_parameters_choose_what_is_answered(serve: Serve, key: str) -> None:
    client = serve(KSERVE_V1)
    body = {"instances": ["a"], key: {"top_k": 1, "truncate": False, "confidence": 0.5}}
    assert client.post(PREDICT, body).json()["predictions"] == [{**RESULT, "scores": {"positive": 0.7}}]
    assert client.runner.truncations == [None]


@pytest.mark.parametrize(
    "body",
    [
        {"instances": [PAIR]},
        {"instances": [["a", "b"]]},
        {"inputs": {"text": ["a"], "text_pair": ["b"]}},
        {"inputs": {"text_pair": "b", "text": "a"}},
        {"dataframe_records": [PAIR]},
        {"dataframe_split": {"columns": ["text_pair", "text"], "data": [["b", "a"]]}},
    ],
)
def test_the_columns_of_a_pair_are_text_and_text_pair(serve: Serve, body: Any) -> None:
    client = serve(INVOCATIONS, some(SPECS["pair"]), SPECS["pair"])
    answer = client.post("/invocations", body)
    assert answer.status_code == 200, answer.text
    assert client.runner.asked == [[("a", "b")]]


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("several", {"labels": ["spam", "insult"]}),
        ("number", {"score": 1.5}),
        ("pair number", {"score": 1.5}),
        ("pair", {"label": "neither"}),
    ],
)
def test_a_prediction_has_the_shape_of_its_problem(serve: Serve, name: str, answer: dict[str, Any]) -> None:
    spec = SPECS[name]
    instance = PAIR if spec.input == "pair" else "a"
    client = serve(KSERVE_V1, some(spec), spec)
    (prediction,) = client.post("/v1/models/fake:predict", {"instances": [instance]}).json()["predictions"]
    assert prediction.items() >= answer.items()


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("single", {}, "body must have one of instances"),
        ("single", {"instances": ["secret"], "inputs": ["secret"]}, "and has instances and inputs"),
        ("single", {"instances": "secret"}, "instances must be a list"),
        ("single", {"instances": []}, "instances is empty"),
        ("single", {"instances": ["secret", ""]}, "instances[1] is empty"),
        ("single", {"instances": ["secret", 1]}, "instances[1] must be a string"),
        ("single", {"instances": [["secret", "b"]]}, "instances[0] must be a list with one string"),
        ("single", {"instances": [{"text": "secret", "id": 1}]}, "instances[0] has 2 columns"),
        ("single", {"instances": [{"text": 1}]}, "instances[0] must be a string"),
        ("single", {"inputs": 1}, "inputs must be a string, a list"),
        ("single", {"inputs": {}}, "inputs must have a list"),
        ("single", {"inputs": {"text": 1}}, "inputs must have a list"),
        ("single", {"dataframe_split": {"columns": ["a"], "data": [["secret", "b"]]}}, "dataframe_split.data[0] must"),
        ("single", {"dataframe_split": {"columns": ["a"], "data": [["secret"], [" "]]}}, "dataframe_split.data[1] is"),
        ("single", {"dataframe_split": {"data": [["secret"]]}}, "dataframe_split.columns is missing"),
        ("single", {"dataframe_split": {"columns": ["a", "a"], "data": [["secret", "b"]]}}, "dataframe_split.columns"),
        ("single", {"dataframe_split": {"columns": [1, "1"], "data": [["secret", "b"]]}}, "dataframe_split.columns"),
        ("single", {"dataframe_records": {"text": "secret"}}, "dataframe_records must be a list"),
        ("single", {"instances": ["secret"], "params": {"top_k": 0}}, "params.top_k must be at least 1"),
        ("pair", {"instances": ["secret"]}, "instances[0] is one text, and this model takes pairs"),
        ("pair", {"instances": [["secret"]]}, "instances[0] must be a list with two strings"),
        ("pair", {"instances": [{"text": "secret"}]}, "instances[0].text_pair is missing"),
        ("pair", {"inputs": {"text": ["secret"], "text_pair": []}}, "inputs must have the same number of texts"),
        ("pair", {"dataframe_records": [{**PAIR, "text_pair": " "}]}, "dataframe_records[0].text_pair is empty"),
    ],
)
def test_what_is_no_instance_is_rejected_by_its_name(serve: Serve, name: str, body: Any, message: str) -> None:
    spec = SPECS[name]
    for protocol, path, key in (
        (KSERVE_V1, "/v1/models/fake:predict", "error"),
        (INVOCATIONS, "/invocations", "message"),
    ):
        client = serve(protocol, some(spec), spec)
        answer = client.post(path, body)
        assert answer.status_code == 400
        assert message in answer.json()[key]
        assert "secret" not in answer.text
        assert client.runner.asked == []
    assert answer.json()["error_code"] == "BAD_REQUEST"


def test_the_model_is_described_as_kserve_and_tensorflow_serving_ask(serve: Serve) -> None:
    client = serve(KSERVE_V1)
    status = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    answer = client.request("GET", "/v1/models/sentiment-pl-en")
    assert answer.status_code == 200
    assert answer.json() == {"name": "sentiment-pl-en", "ready": True, "model_version_status": [status]}
    client.application.leave()
    answer = client.request("GET", "/v1/models/sentiment-pl-en")
    assert (answer.status_code, answer.json()["ready"]) == (503, False)


@pytest.mark.parametrize("path", ["/v1/models/other", "/v1/models/other:predict"])
def test_another_model_is_not_found(serve: Serve, path: str) -> None:
    client = serve(KSERVE_V1)
    method = "POST" if path.endswith(":predict") else "GET"
    answer = client.request(method, path, b'{"instances": ["a"]}')
    assert answer.status_code == 404
    assert "sentiment-pl-en is" in answer.json()["error"]


# Vertex AI.


def of_vertex(serve: Serve, **variables: str) -> Client:
    client = serve(NATIVE)
    protocols = [NATIVE, *vertex(variables), TEI]
    client.app = HttpProtocols(client._wrapped, lambda: client.application, protocols)
    return client


def test_vertex_ai_chooses_its_paths(serve: Serve) -> None:
    client = of_vertex(serve, AIP_PREDICT_ROUTE="/v1/endpoints/1:predict", AIP_HEALTH_ROUTE="/v1/endpoints/1")
    answer = client.post("/v1/endpoints/1:predict", {"instances": ["a"], "parameters": {"top_k": 3}})
    assert [prediction["label"] for prediction in answer.json()["predictions"]] == ["positive"]
    assert client.request("GET", "/v1/endpoints/1").status_code == 200
    assert "inputs" in client.post("/v1/endpoints/1:predict", {}).json()["error"]
    client.application.leave()
    assert client.request("GET", "/v1/endpoints/1").status_code == 503


def test_its_path_may_be_that_of_another_protocol(serve: Serve) -> None:
    client = of_vertex(serve, AIP_PREDICT_ROUTE="/predict")
    assert client.post("/predict", {"instances": ["a"]}).json() == {"predictions": [RESULT]}
    assert client.post("/predict", {"inputs": "a"}).json()[0]["label"] == "positive"
    assert client.post("/predict", {}).json()["error_type"] == "Validation"


def test_its_paths_need_the_key_except_for_health(serve: Serve) -> None:
    client = serve(NATIVE, api_keys="secret-0123456789")
    protocols = [NATIVE, *vertex({"AIP_PREDICT_ROUTE": "/p", "AIP_HEALTH_ROUTE": "/h"})]
    client.app = HttpProtocols(client._wrapped, lambda: client.application, protocols)
    assert client.post("/p", {"instances": ["a"]}).status_code == 401
    assert client.request("GET", "/h").status_code == 200


def test_without_its_variables_there_is_no_path(serve: Serve) -> None:
    assert [route for protocol in vertex({"AIP_PREDICT_ROUTE": ""}) for route in protocol.routes] == []


@pytest.mark.parametrize("path", ["predict", "/{model}"])
def test_a_path_that_cannot_be_served_is_named(path: str) -> None:
    with pytest.raises(ValueError, match="AIP_PREDICT_ROUTE: must be a path"):
        vertex({"AIP_PREDICT_ROUTE": path})
