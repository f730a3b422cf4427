from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

from tests.server import LIMIT_SECONDS, ROOT, Server, environment, fail_to_serve, serve

SENTENCES = {
    "Bardzo polecam ten hotel, było cudownie!": "positive",
    "Jestem zachwycona tą książką.": "positive",
    "Obsługa była niemiła i niekompetentna.": "negative",
    "To był najgorszy film, jaki widziałem.": "negative",
    "Okropny film, strata czasu.": "negative",
    "Beznadziejna obsługa, nigdy tu nie wrócę.": "negative",
    "Zebranie odbędzie się w środę o 17.": "neutral",
    "I absolutely love this phone!": "positive",
    "Terrible product, a complete waste of money.": "negative",
    "The store is open from Monday to Friday.": "neutral",
}


@pytest.fixture(scope="module")
def server(store: Path) -> Iterator[Server]:
    with serve(store, supervisor=True) as running:
        yield running


def classify(server: Server, texts: list[str]) -> httpx.Response:
    return httpx.post(f"{server.url}/classify", json={"texts": texts}, timeout=LIMIT_SECONDS)


def test_texts_of_both_languages_are_classified_in_order(server: Server) -> None:
    answer = classify(server, list(SENTENCES))
    assert answer.status_code == 200
    assert [result["label"] for result in answer.json()["results"]] == list(SENTENCES.values())


def test_a_response_has_the_documented_fields(server: Server) -> None:
    answer = classify(server, ["To działa!"]).json()
    assert answer["model"].startswith("sentiment-pl-en:")
    (result,) = answer["results"]
    assert set(result) == {"label", "score", "scores", "tokens", "truncated"}
    assert list(result["scores"]) == ["negative", "neutral", "positive"]
    assert sum(result["scores"].values()) == pytest.approx(1, abs=1e-5)
    assert result["score"] == max(result["scores"].values())
    assert result["truncated"] is False


def test_a_long_text_is_truncated(server: Server) -> None:
    (result,) = classify(server, ["bardzo dobry film " * 400]).json()["results"]
    assert (result["tokens"], result["truncated"], result["label"]) == (512, True, "positive")


def test_texts_of_concurrent_requests_share_batches_and_keep_their_answers(server: Server) -> None:
    texts = list(SENTENCES) * 20
    alone = {text: classify(server, [text]).json()["results"][0] for text in SENTENCES}
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda text: classify(server, [text]).json()["results"][0], texts))
    for text, answer in zip(texts, answers, strict=True):
        assert answer["label"] == alone[text]["label"]
        assert answer["scores"] == pytest.approx(alone[text]["scores"], abs=1e-4)
    metrics = dict(
        line.rsplit(" ", 1) for line in httpx.get(f"{server.url}/metrics").text.splitlines() if line[0] != "#"
    )
    assert float(metrics["textserve_batch_texts_count"]) < float(metrics["textserve_texts_total"])


@pytest.mark.parametrize(
    ("body", "status", "where"),
    [
        (b"{}", 400, "texts"),
        (b'{"texts": []}', 400, "texts"),
        (b'{"texts": ["ok", 7]}', 400, "texts[1]"),
        (b'{"texts": ["ok", "  "]}', 400, "texts[1]"),
        (b'{"texts": "ok"}', 400, "texts"),
        (b'{"texts": ["ok"], "lang": "pl"}', 400, "lang"),
        (b"[1, 2]", 400, "body"),
        (b'{"texts": ["secret-text"', 400, "body"),
        (b'{"texts": ["\xff\xfe"]}', 400, "body"),
        (json.dumps({"texts": ["a"] * 1001}).encode(), 413, "texts"),
        (json.dumps({"texts": ["a" * 20_001]}).encode(), 413, "texts[0]"),
        (b'{"texts": ["' + b"a" * 4_194_304 + b'"]}', 413, "body"),
    ],
)
def test_invalid_input_is_rejected_with_its_location(server: Server, body: bytes, status: int, where: str) -> None:
    answer = httpx.post(f"{server.url}/classify", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error["where"] == where
    assert error["message"].startswith(where)


def test_no_text_is_logged(server: Server) -> None:
    private = "prywatna-tajemnica"
    for body in (
        {"texts": [private]},
        {"texts": [private, 1]},
        {"texts": [[private]]},
        {private: 1},
        {"texts": private},
    ):
        httpx.post(f"{server.url}/classify", json=body)
    httpx.post(f"{server.url}/classify", content=f'{{"texts": ["{private}"'.encode())
    assert private not in server.log()


def test_bentomls_client_works(server: Server) -> None:
    script = (
        "import sys, bentoml\n"
        "with bentoml.SyncHTTPClient(sys.argv[1]) as client:\n"
        "    print(client.classify(texts=['Świetnie!'])['results'][0]['label'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, server.url],
        env=environment(server.home),
        capture_output=True,
        text=True,
        check=True,
        timeout=LIMIT_SECONDS,
    )
    assert done.stdout.strip() == "positive"


def test_the_openapi_document_describes_the_endpoint(server: Server) -> None:
    schema = httpx.get(f"{server.url}/docs.json").json()
    assert "/classify" in schema["paths"]


def test_it_is_live_and_ready(server: Server) -> None:
    assert httpx.get(f"{server.url}/livez").status_code == 200
    assert httpx.get(f"{server.url}/readyz").status_code == 200


def test_clients_cannot_create_labels_of_metrics(server: Server) -> None:
    httpx.get(f"{server.url}/no/such/path")
    httpx.post(f"{server.url}/classify", json={"texts": [1]})
    metrics = httpx.get(f"{server.url}/metrics").text
    assert "/no/such/path" not in metrics
    assert 'textserve_requests_total{outcome="invalid_request",protocol="native"}' in metrics


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_every_process_and_frees_the_port(tmp_path: Path, server: Server, number: signal.Signals) -> None:
    shutil.copytree(server.home / "models", tmp_path / "models")
    with serve(tmp_path, supervisor=True) as stopping:
        processes = stopping.processes()
        assert stopping.stop(number) == 0
        _, alive = psutil.wait_procs(processes, timeout=LIMIT_SECONDS)
        assert alive == []
        with pytest.raises(httpx.ConnectError):
            httpx.get(stopping.url)


def test_a_model_with_a_wrong_golden_text_is_live_but_not_ready(tmp_path: Path, server: Server) -> None:
    shutil.copytree(server.home / "models", tmp_path / "models")
    (spec,) = (tmp_path / "models").glob("sentiment-pl-en/*/files/model.yaml")
    content = yaml.safe_load(spec.read_text(encoding="utf-8"))
    content["golden"].append({"text": "What a wonderful day!", "label": "negative"})
    index = len(content["golden"]) - 1
    spec.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    with serve(tmp_path, ready=False) as broken:
        assert httpx.get(f"{broken.url}/livez").status_code == 200
        assert httpx.get(f"{broken.url}/readyz").status_code == 503
        rejection = classify(broken, ["Dzień dobry"])
        assert (rejection.status_code, rejection.json()["error"]["type"]) == (503, "not_ready")
        assert f"golden[{index}] is positive, expected negative" in broken.log()


def cut(files: Path) -> str:
    graph = files / "model.onnx"
    graph.write_bytes(graph.read_bytes()[: 2**20])
    return f"{graph} cannot be loaded: "


def spoil_tokenizer(files: Path) -> str:
    (files / "tokenizer.json").write_text("{", encoding="utf-8")
    return f"{files / 'tokenizer.json'} cannot be loaded: "


def spoil_spec(files: Path) -> str:
    (files / "model.yaml").write_text("name: sentiment-pl-en\n", encoding="utf-8")
    return f"{files / 'model.yaml'}: description: is missing"


def remove(files: Path) -> str:
    (files / "model.onnx").unlink()
    return f"{files / 'model.onnx'} does not exist"


@pytest.mark.parametrize("spoil", [cut, spoil_tokenizer, spoil_spec, remove])
def test_a_model_that_cannot_be_served_fails_the_start_with_the_reason(
    tmp_path: Path, server: Server, spoil: Callable[[Path], str]
) -> None:
    shutil.copytree(server.home / "models", tmp_path / "models")
    (files,) = (tmp_path / "models").glob("sentiment-pl-en/*/files")
    reason = spoil(files)
    output = fail_to_serve(tmp_path)
    assert f"sentiment-pl-en:{files.parent.name} cannot be served: {reason}" in output
    assert f"run bentoml models delete sentiment-pl-en:{files.parent.name} and save it again" in output
    assert "Traceback" not in output


def test_settings_come_from_the_environment(tmp_path: Path, server: Server) -> None:
    shutil.copytree(server.home / "models", tmp_path / "models")
    with serve(tmp_path, TEXTSERVE_MAX_TEXTS="2", TEXTSERVE_THREADS="1") as limited:
        assert classify(limited, ["a", "b"]).status_code == 200
        assert classify(limited, ["a", "b", "c"]).status_code == 413
        assert "on 1 thread" in limited.log()


def test_a_model_that_is_not_in_the_store_is_named(tmp_path: Path) -> None:
    assert "no-such-model" in fail_to_serve(tmp_path, TEXTSERVE_MODEL="no-such-model")


def test_the_service_does_not_load_torch(server: Server) -> None:
    script = (
        "import sys, textserve.http.native; "
        "print([name for name in ('torch', 'transformers', 'optimum', 'onnx') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    loaded = {Path(mapped.path).name for process in server.processes() for mapped in process.memory_maps()}
    assert not [name for name in loaded if "torch" in name]
