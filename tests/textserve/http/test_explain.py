from __future__ import annotations

import json
import math
import re
from functools import partial
from typing import Any

import httpx
import numpy as np
import pytest

from tests.asgi import SPEC, Serve
from tests.server import ROOT, Server
from tests.specs import SPECS, predictions, some
from textserve.explanation import log_odds
from textserve.http.explain import EXPLAIN
from textserve.prediction import Prediction


@pytest.fixture
def explain(serve: Serve) -> Serve:
    return partial(serve, EXPLAIN)


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


# Of other models, in this process.


def words(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["words"]
    return found


def test_the_words_of_both_texts_of_a_pair_are_explained(explain: Serve) -> None:
    spec = SPECS["pair"]
    client = explain(predictions(spec, [0, 2, 0], [0, 1, 0], [0, 2, 0], [3, 0, 0]), spec)
    answer = client.post("/explain", {"text": "so so", "text_pair": " not"})
    assert client.runner.asked == [[("so so", " not"), (" so", " not"), ("so ", " not"), ("so so", " ")]]
    assert [list(word.values())[:4] for word in words(answer)] == [
        ["so", "text", 0, 2],
        ["so", "text", 3, 5],
        ["not", "text_pair", 1, 4],
    ]
    without = [math.e / (math.e + 2), math.e**2 / (math.e**2 + 2), 1 / (math.e**3 + 2)]
    score = math.e**2 / (math.e**2 + 2)
    assert [word["influence"] for word in words(answer)] == pytest.approx(
        [score - other for other in without], abs=2e-6
    )
    odds = [math.log(other / (1 - other)) for other in (score, *without)]
    assert [word["log_odds"] for word in words(answer)] == pytest.approx(
        [odds[0] - other for other in odds[1:]], abs=1e-5
    )
    assert answer.json()["explained"] == ["entailment"]


def test_each_of_several_labels_is_explained(explain: Serve) -> None:
    spec = SPECS["several"]
    client = explain(predictions(spec, [1, -2, 3], [0, -2, 5]), spec)
    (word,) = words(client.post("/explain", {"text": "a"}))
    assert word["labels"] == {
        "spam": {"influence": pytest.approx(0.952574 - 0.993307, abs=1e-6), "log_odds": -2.0},
        "insult": {"influence": pytest.approx(0.231059), "log_odds": 1.0},
    }
    assert (word["influence"], word["log_odds"]) == tuple(word["labels"]["spam"].values())


@pytest.mark.parametrize(
    ("name", "logits", "asked", "explained"),
    [
        ("several", [-1.0, -3.0, -2.0], None, ["insult"]),
        ("several", [1.0, -3.0, 2.0], None, ["spam", "insult"]),
        ("several", [1.0, -3.0, 2.0], ["threat"], ["threat"]),
        ("single", [1.0, 0.0], None, ["ham"]),
        ("single", [1.0, 0.0], ["spam", "ham"], ["spam", "ham"]),
        ("number", [1.0], None, ["stars"]),
        ("number", [1.0], ["stars"], ["stars"]),
    ],
)
def test_the_labels_of_the_answer_are_explained_unless_the_request_names_others(
    explain: Serve, name: str, logits: list[float], asked: list[str] | None, explained: list[str]
) -> None:
    content = {"text": "a", "labels": asked} if asked else {"text": "a"}
    answer = explain(predictions(SPECS[name], logits), SPECS[name]).post("/explain", content)
    assert answer.json()["explained"] == explained
    assert ("labels" in words(answer)[0]) == (len(explained) > 1)


def test_a_number_has_an_influence_and_no_log_odds(explain: Serve) -> None:
    spec = SPECS["number"]
    (word,) = words(explain(predictions(spec, [4.5], [1.25]), spec).post("/explain", {"text": "good"}))
    assert word == {"text": "good", "in": "text", "start": 0, "end": 4, "influence": 3.25}


@pytest.mark.parametrize("gap", [0.0, 5.0, 60.0])
def test_log_odds_keep_what_the_score_rounds_away(gap: float) -> None:
    logits = np.array([[gap, 0.0, -gap], [-1.0, -1.0, -1.0]])
    expected = [gap - math.log(1 + math.exp(-gap)), -math.log(2)]
    assert log_odds("softmax", logits, [0])[:, 0] == pytest.approx(expected, rel=1e-9)
    assert log_odds("softmax", logits, [2])[0, 0] == pytest.approx(-gap - math.log(math.exp(gap) + 1), rel=1e-9)


@pytest.mark.parametrize(
    ("name", "content", "where"),
    [
        ("single", {"text": "a", "labels": ["ham", "secret"]}, "labels[1]"),
        ("single", {"text": "a", "labels": ["ham", "ham"]}, "labels[1]"),
        ("single", {"text": "a", "labels": []}, "labels"),
        ("single", {"text": "a", "labels": "secret"}, "labels"),
        ("single", {"text": "a", "labels": [1]}, "labels[0]"),
        ("single", {"text": "a", "text_pair": "secret"}, "body"),
        ("pair", {"text": "secret"}, "text"),
        ("pair", {"text": "secret", "text_pair": " "}, "text_pair"),
        ("pair", {"text": " ", "text_pair": "secret"}, "text"),
        ("pair", {"text": "a " * 200, "text_pair": "b " * 200}, "body"),
    ],
)
def test_what_cannot_be_explained_is_rejected_before_it_is_computed(
    explain: Serve, name: str, content: Any, where: str
) -> None:
    client = explain(some(SPECS[name]), SPECS[name])
    answer = client.post("/explain", content)
    assert answer.status_code in (400, 413)
    assert answer.json()["error"]["where"] == where
    assert "secret" not in answer.text
    assert client.runner.asked == []
