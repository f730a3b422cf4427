from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.asgi import SPEC, Serve
from tests.server import ROOT, Server, serve
from textserve.http.explain import EXPLAIN
from textserve.prediction import Prediction


@pytest.fixture
def explain(serve: Serve) -> Serve:
    return partial(serve, EXPLAIN)


@pytest.fixture(scope="module")
def server(store: Path) -> Iterator[Server]:
    with serve(store) as running:
        yield running


def prediction(*probabilities: float) -> Prediction:
    return Prediction(SPEC, list(probabilities), tokens=4, truncated=False, logits=[0.0, 0.0, 0.0])


def post(server: Server, path: str, content: object) -> httpx.Response:
    return httpx.post(f"{server.url}{path}", json=content, timeout=30)


def test_an_answer_has_the_documented_shape(explain: Serve) -> None:
    predictions = [prediction(0.1, 0.2, 0.7), prediction(0.6, 0.2, 0.2), prediction(0.1, 0.1, 0.8)]
    client = explain(predictions)
    answer = client.post("/explain", {"text": "😀, nie"})
    assert answer.status_code == 200
    assert answer.json() == {
        "model": "tiny:1",
        "label": "positive",
        "score": 0.7,
        "scores": {"negative": 0.1, "neutral": 0.2, "positive": 0.7},
        "tokens": 4,
        "truncated": False,
        "explained": ["positive"],
        "words": [
            {"text": "😀", "in": "text", "start": 0, "end": 1, "influence": 0.5, "log_odds": 0.0},
            {"text": "nie", "in": "text", "start": 3, "end": 6, "influence": -0.1, "log_odds": 0.0},
        ],
    }
    assert client.runner.asked == [["😀, nie", ", nie", "😀, "]]
    assert answer.headers["x-compute-tokens"] == "12"
    assert client.outcomes() == {"ok": 1}


def test_an_influence_is_the_difference_of_rounded_scores(explain: Serve) -> None:
    answer = explain([prediction(0.0000004, 0.3, 0.6999996), prediction(0.2000004, 0.3, 0.4999996)])
    content = answer.post("/explain", {"text": "a"}).json()
    assert (content["score"], content["words"][0]["influence"]) == (0.7, 0.2)


def test_the_score_minus_an_influence_is_the_score_without_the_word(server: Server) -> None:
    for text in ("Obsługa 👍🏽 była miła, ale pokój brudny.", "Świetnie!", "I don't recommend it :("):
        answer = post(server, "/explain", {"text": text}).json()
        rest = [text[: word["start"]] + text[word["end"] :] for word in answer["words"]]
        whole, *without = post(server, "/classify", {"texts": [text, *rest]}).json()["results"]
        assert {key: answer[key] for key in whole} == whole
        for word, alone in zip(answer["words"], without, strict=True):
            assert text[word["start"] : word["end"]] == word["text"]
            # Both are rounded to six digits: they may differ by one unit of the last, and by the error of a float.
            assert answer["score"] - word["influence"] == pytest.approx(alone["scores"][answer["label"]], abs=1.1e-6)


def test_the_documented_answer_is_returned(server: Server) -> None:
    documentation = (ROOT / "docs" / "explain.md").read_text(encoding="utf-8")
    (body,) = re.findall(r"-d '(.*)'", documentation)
    answer = post(server, "/explain", json.loads(body)).json()
    assert f'"label": "{answer["label"]}"' in documentation
    strongest = max(answer["words"], key=lambda word: abs(word["influence"]))
    shown = {key: strongest[key] for key in ("text", "in", "start", "end")}
    assert json.dumps(shown)[:-1] in documentation
