"""Real servers with a tiny model of each shape of classifier, asked by real clients of every protocol."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from huggingface_hub import InferenceClient

from tests import tiny_onnx
from tests.server import LIMIT_SECONDS, ROOT, Server, environment, serve
from tests.specs import MULTI, spec

EMOTIONS = [f"emotion{index}" for index in range(28)]
STARS, RELEVANCE, VERDICTS = ["stars"], ["relevance"], ["contradiction", "entailment", "neutral"]
SPECIFIC: dict[str, Any] = {"graph": tiny_onnx.GRAPH}

Start = Callable[[str], Server]


def write_models(folder: Path) -> list[Path]:
    """A folder for each model: several labels, a number, natural language inference, and a reranker."""
    several = spec(EMOTIONS, ["emotion0"], [], name="several", problem_type=MULTI, **SPECIFIC)
    several = several.model_copy(update={"golden": _golden(several, ("emotion0", None), ("nothing", None))})
    own = {word: [6.0 if label == word else 0.0 for label in EMOTIONS] for word in EMOTIONS}
    tiny_onnx.write(folder / "several", several, [-3.0] * len(EMOTIONS), own)
    number = spec(STARS, 4.5, 1.5, name="number", problem_type="regression", **SPECIFIC)
    number = number.model_copy(update={"golden": _golden(number, ("good", None), ("bad", None))})
    tiny_onnx.write(folder / "number", number, [2.5], {"good": [2.0], "bad": [-1.0]})
    nli = spec(VERDICTS, "contradiction", "entailment", name="nli", input="pair", **SPECIFIC)
    nli = nli.model_copy(update={"golden": _golden(nli, ("rain", "sun"), ("rain", "rain"))})
    tiny_onnx.write(
        folder / "nli",
        nli,
        [0.0, 0.0, 1.0],
        {"rain": [2.0, 2.0, 0.0]},
        {"rain": [-2.0, 2.0, 0.0], "sun": [2.0, -2.0, 0.0]},
    )
    ranker = spec(RELEVANCE, 1.0, -1.0, name="ranker", problem_type="regression", input="pair", **SPECIFIC)
    ranker = ranker.model_copy(update={"golden": _golden(ranker, ("q", "cats"), ("q", "noise"))})
    tiny_onnx.write(folder / "ranker", ranker, [0.0], {}, {"cats": [1.0], "noise": [-1.0]})
    return [folder / name for name in ("several", "number", "nli", "ranker")]


def _golden(served: Any, *inputs: tuple[str, str | None]) -> list[Any]:
    """The golden texts of a spec with other texts."""
    return [
        golden.model_copy(update={"text": text, "text_pair": pair})
        for golden, (text, pair) in zip(served.golden, inputs, strict=True)
    ]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """``start(model)``: a server of that model, the same one each time."""
    folder = tmp_path_factory.mktemp("shapes")
    command = [sys.executable, "-m", "tests.tiny_onnx", *map(str, write_models(folder / "written"))]
    servers: dict[str, Server] = {}
    subprocess.run(command, cwd=ROOT, env=environment(folder), check=True, timeout=LIMIT_SECONDS)
    with ExitStack() as stack:

        def started(name: str) -> Server:
            if name not in servers:
                home = folder / name
                home.mkdir()
                (home / "models").symlink_to(folder / "models", target_is_directory=True)
                servers[name] = stack.enter_context(serve(home, TEXTSERVE_MODEL=name))
            return servers[name]

        yield started


def post(server: Server, path: str, content: object) -> Any:
    answer = httpx.post(f"{server.url}{path}", json=content, timeout=LIMIT_SECONDS)
    assert answer.status_code == 200, answer.text
    return answer.json()


def over_triton(server: Server, model: str, protocol: str, inputs: dict[str, list[str]]) -> dict[str, list[Any]]:
    """Every output, from Triton's client of the protocol."""
    if protocol == "grpc":
        # See tests/triton_grpc.py.
        command = [
            sys.executable,
            "-m",
            "tests.triton_grpc",
            f"127.0.0.1:{server.grpc_port}",
            model,
            json.dumps(inputs),
        ]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=True)
        return {name: found["data"] for name, found in json.loads(done.stdout).items()}
    tensors = []
    for name, texts in inputs.items():
        array: Any = np.array([text.encode() for text in texts], dtype=np.object_)
        tensors.append(triton.InferInput(name, list(array.shape), "BYTES").set_data_from_numpy(array))
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}", network_timeout=LIMIT_SECONDS) as client:
        names = [output["name"] for output in client.get_model_metadata(model)["outputs"]]
        answer = client.infer(model, tensors)
        arrays = {name: answer.as_numpy(name).flatten().tolist() for name in names}
    return {
        name: [value.decode() if isinstance(value, bytes) else value for value in values]
        for name, values in arrays.items()
    }


def predicted(server: Server) -> dict[str, float]:
    """Texts by label, in the metrics."""
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    found = [line.rsplit(" ", 1) for line in lines if line.startswith("textserve_predictions_total{")]
    return {name.split('"')[1]: float(value) for name, value in found}


def sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def test_any_number_of_28_labels(start: Start) -> None:
    server, text = start("several"), "emotion3 nothing emotion27 emotion27"
    before = predicted(server)
    first, second = post(server, "/classify", {"texts": [text, "nothing"], "top_k": 3})["results"]
    assert first["labels"] == ["emotion27", "emotion3"]
    assert list(first["scores"].items()) == [
        ("emotion27", pytest.approx(sigmoid(9), abs=1e-5)),
        ("emotion3", pytest.approx(sigmoid(3), abs=1e-5)),
        ("emotion0", pytest.approx(sigmoid(-3), abs=1e-5)),
    ]
    assert second["labels"] == []
    assert {label: value - before[label] for label, value in predicted(server).items() if value != before[label]} == {
        "emotion3": 1,
        "emotion27": 1,
    }
    best = InferenceClient(server.url).text_classification(text, top_k=2)
    assert [(label.label, label.score) for label in best] == list(first["scores"].items())[:2]
    (ranked,) = post(server, "/predict", {"inputs": [[text]]})
    assert [label["label"] for label in ranked[:2]] == first["labels"]
    assert len(ranked) == 28
    word, *_ = post(server, "/explain", {"text": text})["words"]
    assert list(word["labels"]) == first["labels"]
    assert word["labels"]["emotion3"] == {"influence": pytest.approx(sigmoid(3) - sigmoid(-3), abs=1e-5), "log_odds": 6}


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_tritons_clients_receive_sets_of_labels(start: Start, protocol: str) -> None:
    answer = over_triton(start("several"), "several", protocol, {"text": ["emotion3 emotion5", "nothing"]})
    assert [sorted(json.loads(labels)) for labels in answer["labels"]] == [["emotion3", "emotion5"], []]
    assert len(answer["probabilities"]) == 2 * 28
    assert answer["probabilities"][3] == pytest.approx(sigmoid(3), abs=1e-5)


def test_a_number(start: Start) -> None:
    server = start("number")
    assert post(server, "/classify", {"texts": ["good good", "bad"]})["results"] == [
        {"score": 6.5, "tokens": 4, "truncated": False},
        {"score": 1.5, "tokens": 3, "truncated": False},
    ]
    (found,) = InferenceClient(server.url).text_classification("good")
    assert (found.label, found.score) == ("stars", 4.5)
    assert post(server, "/predict", {"inputs": "good"}) == [{"label": "stars", "score": 4.5}]
    answer = post(server, "/explain", {"text": "good bad"})
    assert [(word["text"], word["influence"]) for word in answer["words"]] == [("good", 2.0), ("bad", -1.0)]
    assert answer["explained"] == ["stars"]
    for protocol in ("http", "grpc"):
        assert over_triton(server, "number", protocol, {"text": ["bad"]})["score"] == [1.5]
    assert predicted(server) == {}
    refused = httpx.post(f"{server.url}/rerank", json={"query": "a", "texts": ["b"]})
    assert refused.status_code == 422
    refused = httpx.post(f"{server.url}/classify", json={"texts": ["a", {"text": "a", "text_pair": "b"}]})
    assert (refused.status_code, refused.json()["error"]["where"]) == (400, "texts[1]")


def test_natural_language_inference(start: Start) -> None:
    server = start("nli")
    pairs = [("rain", "sun"), ("rain", "rain"), ("rain", "nothing")]
    content = [{"text": text, "text_pair": pair} for text, pair in pairs]
    results = post(server, "/classify", {"texts": content})["results"]
    labels = [result["label"] for result in results]
    assert labels[:2] == ["contradiction", "entailment"]
    client = InferenceClient(server.url)
    for pair, result in zip(content, results, strict=True):
        # The client is typed for a text, but sends any value.
        best, *_ = client.text_classification(pair)  # type: ignore[arg-type]
        assert (best.label, best.score) == (result["label"], result["score"])
    chosen, *_ = client.zero_shot_classification("rain", ["sun", "rain"], hypothesis_template="a {}")
    assert chosen.label == "rain"
    rows = post(server, "/predict", {"inputs": [list(pair) for pair in pairs], "truncate": True})
    assert [row[0]["label"] for row in rows] == labels
    texts, others = map(list, zip(*pairs, strict=True))
    for protocol in ("http", "grpc"):
        answer = over_triton(server, "nli", protocol, {"text_pair": others, "text": texts})
        assert answer["label"] == labels
        assert answer["score"] == pytest.approx([result["score"] for result in results], abs=1e-6)
    explained = post(server, "/explain", {"text": "rain", "text_pair": "a sun", "labels": ["contradiction", "neutral"]})
    assert [(word["text"], word["in"]) for word in explained["words"]] == [
        ("rain", "text"),
        ("a", "text_pair"),
        ("sun", "text_pair"),
    ]
    strongest = max(explained["words"], key=lambda word: word["log_odds"])
    assert strongest["text"] == "sun"
    refused = httpx.post(f"{server.url}/classify", json={"texts": ["rain"]})
    assert (refused.status_code, refused.json()["error"]["where"]) == (400, "texts[0]")


def test_bentomls_client_sends_pairs(start: Start) -> None:
    server = start("nli")
    script = (
        "import sys, bentoml\n"
        "with bentoml.SyncHTTPClient(sys.argv[1]) as client:\n"
        "    print(client.classify(texts=[{'text': 'rain', 'text_pair': 'sun'}], top_k=1)['results'][0]['scores'])\n"
    )
    command = [sys.executable, "-c", script, server.url]
    done = subprocess.run(
        command, env=environment(server.home), capture_output=True, text=True, check=True, timeout=LIMIT_SECONDS
    )
    assert done.stdout.startswith("{'contradiction': 0.")


@pytest.mark.parametrize("direction", ["Left", "Right"])
def test_truncation_cuts_a_pair_on_the_side_that_is_asked_for(start: Start, direction: str) -> None:
    # Of the 64 tokens, three are special: truncation on either side keeps one end of the second text.
    pair = ["rain", "sun " + "a " * 80 + "rain"]
    content = {"inputs": [pair], "truncate": True, "truncation_direction": direction}
    ((best, *_),) = post(start("nli"), "/predict", content)
    assert best["label"] == {"Left": "entailment", "Right": "contradiction"}[direction]


def test_reranking(start: Start) -> None:
    server = start("ranker")
    content = {"query": "pets", "texts": ["noise", "cats cats", "cats"]}
    assert post(server, "/rerank", content) == [
        {"index": 1, "score": pytest.approx(sigmoid(2), abs=1e-5)},
        {"index": 2, "score": pytest.approx(sigmoid(1), abs=1e-5)},
        {"index": 0, "score": pytest.approx(sigmoid(-1), abs=1e-5)},
    ]
    raw = post(server, "/rerank", {**content, "raw_scores": True, "return_text": True})
    assert raw[0] == {"index": 1, "score": 2.0, "text": "cats cats"}
    assert list(httpx.get(f"{server.url}/info").json()["model_type"]) == ["reranker"]
    texts = [{"text": "pets", "text_pair": text} for text in content["texts"]]
    assert [result["score"] for result in post(server, "/classify", {"texts": texts})["results"]] == [-1.0, 2.0, 1.0]
    inputs = {"text": ["pets"], "text_pair": ["cats"]}
    assert [over_triton(server, "ranker", protocol, inputs)["score"] for protocol in ("http", "grpc")] == [[1.0], [1.0]]
