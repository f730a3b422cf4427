"""Every protocol over HTTP answers for every shape of classifier, as its OpenAPI document says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.asgi import FakeRunner, Serve, described, fake_application
from tests.specs import SPECS, predictions, some
from textserve.http.explain import EXPLAIN
from textserve.http.huggingface import HUGGINGFACE
from textserve.http.instances import INVOCATIONS, KSERVE_V1
from textserve.http.native import NATIVE
from textserve.http.oip import OIP
from textserve.http.openapi import openapi
from textserve.http.rerank import RERANK
from textserve.http.router import HttpProtocol
from textserve.http.tei import TEI
from textserve.http.vllm import VLLM
from textserve.spec import ModelSpec

PROTOCOLS = [NATIVE, EXPLAIN, HUGGINGFACE, TEI, VLLM, RERANK, OIP, KSERVE_V1, INVOCATIONS]
TEXT, PAIR = "a b", {"text": "a b", "text_pair": "c"}
INFER = "/v2/models/fake/infer"


def sample(spec: ModelSpec) -> Any:
    """What the model takes, in JSON."""
    return PAIR if spec.input == "pair" else TEXT


def requests(spec: ModelSpec) -> dict[str, tuple[HttpProtocol, Any]]:
    """A request by path."""
    value = sample(spec)
    pair = spec.input == "pair"
    sequence = [value["text"], value["text_pair"]] if pair else value
    columns = [("text", "a b"), ("text_pair", "c")] if pair else [("text", "a b")]
    tensors = [{"name": name, "datatype": "BYTES", "shape": [1], "data": [text]} for name, text in columns]
    found: dict[str, tuple[HttpProtocol, Any]] = {
        "/classify": (NATIVE, {"texts": [value]}),
        "/explain": (EXPLAIN, value if pair else {"text": value}),
        "/": (HUGGINGFACE, {"inputs": value}),
        "/predict": (TEI, {"inputs": [sequence] if pair else sequence}),
        "/v2/models/{model}/infer": (OIP, {"inputs": tensors}),
        "/v1/models/{model}:predict": (KSERVE_V1, {"instances": [value]}),
        "/invocations": (INVOCATIONS, {"dataframe_records": [value if pair else {"text": value}]}),
    }
    if not pair:
        found["/v1/classify"] = (VLLM, {"input": value})
    if pair and spec.problem_type == "regression":
        found["/rerank"] = (TEI, {"query": "a", "texts": ["b", "c"]})
        for path in ("/v1/rerank", "/v2/rerank"):
            found[path] = (RERANK, {"query": "a", "documents": ["b", {"text": "c"}]})
    return found


def document(spec: ModelSpec) -> dict[str, Any]:
    return openapi(fake_application(described(spec), FakeRunner(some(spec)), {}), PROTOCOLS)


def check(document: dict[str, Any], schema: dict[str, Any], value: Any) -> None:
    Draft202012Validator({**schema, "components": document["components"]}).validate(value)


@pytest.mark.parametrize("name", SPECS)
def test_requests_and_answers_are_as_documented(serve: Serve, name: str) -> None:
    spec = SPECS[name]
    described = document(spec)
    for path in ("/rerank", "/v1/rerank", "/v2/rerank"):
        assert (path in described["paths"]) == (name == "pair number")
    assert ("/v1/classify" in described["paths"]) == (spec.input == "text")
    for path, (protocol, content) in requests(spec).items():
        operation = described["paths"][path]["post"]
        check(described, operation["requestBody"]["content"]["application/json"]["schema"], content)
        answer = serve(protocol, some(spec), spec).post(path.replace("{model}", "fake"), content)
        assert answer.status_code == 200, (path, answer.text)
        check(described, operation["responses"]["200"]["content"]["application/json"]["schema"], answer.json())


@pytest.mark.parametrize(("name", "listed"), [("28 labels", True), ("150 labels", False)])
def test_few_labels_are_listed_in_the_document(name: str, listed: bool) -> None:
    label = document(SPECS[name])["components"]["schemas"]["Label"]
    assert label.get("enum") == (SPECS[name].label_names if listed else None)


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("single", {"label": "spam", "score": 0.880797, "scores": {"ham": 0.119203, "spam": 0.880797}}),
        (
            "several",
            {"labels": ["spam", "insult"], "scores": {"insult": 0.731059, "threat": 0.119203, "spam": 0.952574}},
        ),
        ("number", {"score": 1.5}),
        ("pair number", {"score": 1.5}),
        ("pair several", {"labels": ["about", "same"], "scores": {"same": 0.731059, "about": 0.952574}}),
    ],
)
def test_a_result_has_the_shape_of_its_problem(serve: Serve, name: str, result: dict[str, Any]) -> None:
    spec = SPECS[name]
    client = serve(NATIVE, some(spec), spec)
    (found,) = client.post("/classify", {"texts": [sample(spec)]}).json()["results"]
    assert found == {**result, "tokens": 3, "truncated": False}
    assert client.runner.asked == [[("a b", "c") if spec.input == "pair" else "a b"]]


def test_no_label_may_reach_its_threshold(serve: Serve) -> None:
    spec = SPECS["several"]
    answer = serve(NATIVE, predictions(spec, [-1.0, 2.1, -1.0]), spec).post("/classify", {"texts": ["a"]})
    assert answer.json()["results"][0]["labels"] == []


@pytest.mark.parametrize(("top_k", "labels"), [(2, ["intent 149", "intent 0"]), (1.0, ["intent 149"])])
def test_top_k_keeps_the_best_scores_in_their_order(serve: Serve, top_k: float, labels: list[str]) -> None:
    spec = SPECS["150 labels"]
    client = serve(NATIVE, some(spec), spec)
    whole, best = (
        client.post("/classify", {"texts": ["a"], **more}).json()["results"][0] for more in ({}, {"top_k": top_k})
    )
    assert list(whole["scores"]) == spec.label_names
    assert list(best["scores"]) == labels
    assert best == {**whole, "scores": best["scores"]}


@pytest.mark.parametrize(
    ("name", "texts", "where", "message"),
    [
        ("single", ["a", PAIR], "texts[1]", "is a pair, and this model takes single texts"),
        ("single", ["a", {"text": "secret"}], "texts[1]", "must be a string"),
        ("pair", [PAIR, "secret"], "texts[1]", "is one text, and this model takes pairs"),
        ("pair", [PAIR, {"text": "secret"}], "texts[1].text_pair", "is missing"),
        ("pair", [PAIR, {"text_pair": "secret"}], "texts[1].text", "is missing"),
        ("pair", [PAIR, {"text": "a", "text_pair": ["secret"]}], "texts[1].text_pair", "must be a string"),
        ("pair", [PAIR, {**PAIR, "secret": "secret"}], "texts[1]", "has an unknown key"),
        ("pair", [PAIR, ["secret", "b"]], "texts[1]", "must be "),
        ("pair", [PAIR, {"text": "secret", "text_pair": " "}], "texts[1].text_pair", "is empty"),
    ],
)
def test_an_input_that_the_model_does_not_take_is_rejected_by_its_index_and_key(
    serve: Serve, name: str, texts: list[Any], where: str, message: str
) -> None:
    spec = SPECS[name]
    for path, protocol, key in (("/classify", NATIVE, "texts"), ("/", HUGGINGFACE, "inputs")):
        client = serve(protocol, some(spec), spec)
        answer = client.post(path, {key: texts})
        assert answer.status_code == 400
        assert f"{where.replace('texts', key, 1)}`" in answer.text or f'"{where}"' in answer.text
        assert message in answer.text
        assert "secret" not in answer.text
        assert client.runner.asked == []


def test_a_request_of_as_many_pairs_as_allowed_is_within_the_bounds_of_values(serve: Serve) -> None:
    spec = SPECS["pair"]
    for path, (protocol, content) in requests(spec).items():
        many = json.dumps(content)
        if path in ("/classify", "/"):
            many = json.dumps({"texts" if path == "/classify" else "inputs": [PAIR] * 2000})
        elif path == "/predict":
            many = json.dumps({"inputs": [["a", "b"]] * 2000})
        elif path.endswith(":predict"):
            many = json.dumps({"instances": [["a", "b"]] * 2000})
        elif path == "/invocations":
            split = {"columns": ["text", "text_pair"], "index": list(range(2000)), "data": [["a", "b"]] * 2000}
            many = json.dumps({"dataframe_split": split})
        elif path.endswith("infer"):
            tensors = [
                {"name": name, "datatype": "BYTES", "shape": [2000, 1], "data": [["a"]] * 2000}
                for name in ("text", "text_pair")
            ]
            many = json.dumps({"inputs": tensors})
        answer = serve(protocol, some(spec), spec, max_texts=2000).post(path.replace("{model}", "fake"), many.encode())
        assert answer.status_code == 200, (path, answer.text[:200])


# Hugging Face's protocol.


@pytest.mark.parametrize(
    ("name", "parameters", "answer"),
    [
        ("several", {}, {"spam": 0.952574, "insult": 0.731059, "threat": 0.119203}),
        ("several", {"top_k": 1}, {"spam": 0.952574}),
        ("several", {"function_to_apply": "none"}, {"spam": 3.0, "insult": 1.0, "threat": -2.0}),
        ("several", {"function_to_apply": "softmax"}, {"spam": 0.875601, "insult": 0.1185, "threat": 0.0059}),
        ("number", {}, {"stars": 1.5}),
        ("number", {"function_to_apply": "sigmoid"}, {"stars": 0.817574}),
        ("pair number", {"top_k": 3}, {"relevance": 1.5}),
    ],
)
def test_hugging_faces_answer_is_a_list_of_labels_for_every_shape(
    serve: Serve, name: str, parameters: dict[str, Any], answer: dict[str, float]
) -> None:
    spec = SPECS[name]
    content = {"inputs": sample(spec), "parameters": parameters}
    ((*labels,),) = serve(HUGGINGFACE, some(spec), spec).post("/", content).json()
    assert {label["label"]: label["score"] for label in labels} == pytest.approx(answer, abs=1e-3)
    assert [label["label"] for label in labels] == list(answer)


# text-embeddings-inference.


@pytest.mark.parametrize(
    ("inputs", "asked", "rows"),
    [
        ([["a", "b"], ["c", "d"]], [("a", "b"), ("c", "d")], 2),
        ([["a", "b"]], [("a", "b")], 1),
        (["a", "b"], [("a", "b")], None),
    ],
)
def test_pairs_are_lists_of_two(serve: Serve, inputs: Any, asked: list[Any], rows: int | None) -> None:
    spec = SPECS["pair"]
    client = serve(TEI, some(spec), spec)
    answer = client.post("/predict", {"inputs": inputs, "truncate": True, "truncation_direction": "Left"}).json()
    assert client.runner.asked == [asked]
    assert client.runner.truncations == ["left"]
    best = answer[0] if rows is None else answer[0][0]
    assert best["label"] == "neither"
    assert rows is None or len(answer) == rows


@pytest.mark.parametrize(
    ("name", "inputs", "where"),
    [
        ("pair", "a", "inputs"),
        ("pair", ["a"], "inputs"),
        ("pair", [["a", "b"], ["c"]], "inputs[1]"),
        ("pair", [["a", "b"], ["c", "d", "e"]], "inputs[1]"),
        ("pair", [["a", "b"], ["c", " "]], "inputs[1].text_pair"),
        ("single", ["a", "b"], "inputs"),
        ("single", [["a"], ["c", "d"]], "inputs[1]"),
    ],
)
def test_a_sequence_that_the_model_does_not_take_is_rejected(serve: Serve, name: str, inputs: Any, where: str) -> None:
    client = serve(TEI, some(SPECS[name]), SPECS[name])
    answer = client.post("/predict", {"inputs": inputs})
    assert answer.status_code == (400 if where.endswith("pair") else 422)
    assert answer.json()["error"].startswith(f"`{where}` ")
    assert client.runner.asked == []


@pytest.mark.parametrize(
    ("options", "ranks"),
    [
        ({}, [(1, 0.952574), (2, 0.622459), (0, 0.119203)]),
        ({"raw_scores": True}, [(1, 3.0), (2, 0.5), (0, -2.0)]),
        ({"return_text": True}, [(1, 0.952574, "y"), (2, 0.622459, "z"), (0, 0.119203, "x")]),
    ],
)
def test_texts_are_ranked_by_their_score_beside_the_query(
    serve: Serve, options: dict[str, Any], ranks: list[tuple[Any, ...]]
) -> None:
    spec = SPECS["pair number"]
    client = serve(TEI, predictions(spec, [-2.0], [3.0], [0.5]), spec)
    answer = client.post("/rerank", {"query": "q", "texts": ["x", "y", "z"], **options})
    assert [tuple(rank.values()) for rank in answer.json()] == ranks
    assert client.runner.asked == [[("q", "x"), ("q", "y"), ("q", "z")]]
    assert client.runner.truncations == [None]
    assert answer.headers["x-compute-tokens"] == "9"


@pytest.mark.parametrize(
    ("name", "content", "where"),
    [
        ("pair", {"query": "q", "texts": ["x"]}, "path"),
        ("number", {"query": "q", "texts": ["x"]}, "path"),
        ("pair number", {"query": " ", "texts": ["x"]}, "query"),
        ("pair number", {"query": "q", "texts": ["x", " "]}, "texts[1]"),
        ("pair number", {"query": "q", "texts": []}, "texts"),
        ("pair number", {"query": "q", "texts": ["x", 1]}, "texts[1]"),
        ("pair number", {"query": "q"}, "texts"),
    ],
)
def test_what_cannot_be_ranked_is_rejected(serve: Serve, name: str, content: Any, where: str) -> None:
    client = serve(TEI, some(SPECS[name]), SPECS[name])
    answer = client.post("/rerank", content)
    assert answer.status_code in (400, 422)
    assert answer.json()["error"].startswith(f"`{where}` ")
    assert client.runner.asked == []


@pytest.mark.parametrize(
    ("name", "kind"), [("pair number", "reranker"), ("number", "classifier"), ("pair", "classifier")]
)
def test_info_says_whether_the_model_is_a_reranker(serve: Serve, name: str, kind: str) -> None:
    spec = SPECS[name]
    answer = serve(TEI, some(spec), spec).request("GET", "/info").json()
    assert answer["model_type"][kind]["label2id"] == {label: index for index, label in enumerate(spec.label_names)}
    assert len(answer["model_type"]) == 1
