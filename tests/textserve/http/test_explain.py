from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.asgi import MEANINGS, Serve
from tests.server import ROOT, Server, serve
from textserve.errors import Overloaded
from textserve.http.explain import EXPLAIN, ExplainResponse
from textserve.runner import Prediction

TEXT = "Obsługa 👍🏽 była miła, ale pokój brudny."


@pytest.fixture
def explain(serve: Serve) -> Serve:
    return partial(serve, EXPLAIN)


@pytest.fixture(scope="module")
def server(store: Path) -> Iterator[Server]:
    with serve(store, TEXTSERVE_MAX_EXPLAINED_WORDS="20") as running:
        yield running


def prediction(*probabilities: float) -> Prediction:
    return Prediction(MEANINGS, list(probabilities), tokens=4, truncated=False, logits=[0.0, 0.0, 0.0])


def post(server: Server, path: str, content: object) -> httpx.Response:
    return httpx.post(f"{server.url}{path}", json=content, timeout=30)


def test_the_answer_has_the_documented_shape(explain: Serve) -> None:
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
        "words": [
            {"text": "😀", "start": 0, "end": 1, "influence": 0.5, "log_odds": 0.0},
            {"text": "nie", "start": 3, "end": 6, "influence": -0.1, "log_odds": 0.0},
        ],
    }
    assert ExplainResponse.model_validate(answer.json(), strict=True).model_dump() == answer.json()
    assert client.runner.asked == [["😀, nie", ", nie", "😀, "]]
    assert answer.headers["x-compute-tokens"] == "12"
    assert client.outcomes() == {"ok": 1}


def test_an_influence_is_the_difference_of_the_scores_that_are_shown(explain: Serve) -> None:
    answer = explain([prediction(0.0000004, 0.3, 0.6999996), prediction(0.2000004, 0.3, 0.4999996)])
    content = answer.post("/explain", {"text": "a"}).json()
    assert (content["score"], content["words"][0]["influence"]) == (0.7, 0.2)


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"", "body"),
        (b'{"text":"a"}x', "body"),
        ('{"text":"ż"}'.encode("iso-8859-2"), "body"),
        (rb'{"text":"\ud800"}', "text"),
        (b'["a"]', "body"),
        (b"{}", "text"),
        (b'{"text":["a"]}', "text"),
        (b'{"text":1}', "text"),
        (b'{"texts":["a"]}', "text"),
        (b'{"text":"a","lang":"pl"}', "lang"),
    ],
)
def test_a_body_that_is_not_as_documented_is_refused_with_what_is_wrong(
    explain: Serve, body: bytes, where: str
) -> None:
    client = explain()
    answer = client.post("/explain", body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["type"], error["where"]) == ("invalid_request", where)
    assert error["message"].startswith(f"{where} ")
    assert "texts" not in error["message"]
    assert client.runner.asked == []


@pytest.mark.parametrize(
    ("text", "status", "kind"),
    [
        ("", 400, "empty_input"),
        (" \n", 400, "empty_input"),
        ("tajemnica" * 3, 413, "text_too_long"),
        ("taj em ni ca", 413, "text_too_long"),
    ],
)
def test_a_text_beyond_the_limits_is_refused_and_neither_answered_nor_logged(
    explain: Serve, caplog: pytest.LogCaptureFixture, text: str, status: int, kind: str
) -> None:
    caplog.set_level(logging.DEBUG, logger="textserve")
    client = explain(max_characters=20, max_explained_words=3)
    answer = client.post("/explain", {"text": text})
    assert answer.status_code == status
    error = answer.json()["error"]
    assert (error["type"], error["where"]) == (kind, "text")
    assert "taj" not in answer.text + caplog.text
    assert client.runner.asked == []


def test_an_overloaded_service_says_when_to_come_back(explain: Serve) -> None:
    answer = explain(Overloaded("retry later", retry_after=2)).post("/explain", {"text": "a"})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "2")
    assert answer.json()["error"]["type"] == "overloaded"


def test_a_score_less_an_influence_is_the_score_of_the_text_without_the_word(server: Server) -> None:
    for text in (TEXT, "Świetnie!", "I don't recommend it :("):
        answer = post(server, "/explain", {"text": text}).json()
        assert [text[word["start"] : word["end"]] for word in answer["words"]] == [
            word["text"] for word in answer["words"]
        ]
        rest = [text[: word["start"]] + text[word["end"] :] for word in answer["words"]]
        whole, *without = post(server, "/classify", {"texts": [text, *rest]}).json()["results"]
        assert {key: answer[key] for key in whole} == whole
        for word, alone in zip(answer["words"], without, strict=True):
            # Both are rounded to six digits: one unit of the last may differ, and what adding floats does to it.
            assert answer["score"] - word["influence"] == pytest.approx(alone["scores"][answer["label"]], abs=1.1e-6)


def test_influences_have_the_order_and_the_signs_of_what_is_said(server: Server) -> None:
    answer = post(server, "/explain", {"text": "What a wonderful evening!"}).json()
    influence = {word["text"]: word["influence"] for word in answer["words"]}
    assert answer["label"] == "positive"
    assert list(influence) == ["What", "a", "wonderful", "evening"]
    assert max(influence, key=influence.__getitem__) == "wonderful"
    assert influence["wonderful"] > 0.05


def test_too_many_words_are_refused_and_not_cut_off(server: Server) -> None:
    assert len(post(server, "/explain", {"text": "słowo " * 20}).json()["words"]) == 20
    answer = post(server, "/explain", {"text": "słowo " * 21})
    assert answer.status_code == 413
    assert answer.json()["error"] == {
        "type": "text_too_long",
        "where": "text",
        "message": "text has 21 words; send at most 20 to have each explained",
    }


def test_the_description_says_what_is_asked_and_answered(server: Server) -> None:
    document: dict[str, Any] = httpx.get(f"{server.url}/docs.json").json()
    operation = document["paths"]["/explain"]["post"]
    assert {"200", "400", "413", "429", "503", "504"} <= operation["responses"].keys()
    assert set(document["components"]["schemas"]["ExplainRequest"]["properties"]) == {"text"}
    assert json.dumps(document).count("influence") > 0


def test_the_example_of_the_documentation_is_answered_as_it_says(server: Server) -> None:
    documentation = (ROOT / "docs" / "explain.md").read_text(encoding="utf-8")
    (body,) = re.findall(r"-d '(.*)'", documentation)
    answer = post(server, "/explain", json.loads(body)).json()
    assert f'"label": "{answer["label"]}"' in documentation
    strongest = max(answer["words"], key=lambda word: abs(word["influence"]))
    shown = {key: strongest[key] for key in ("text", "start", "end")}
    assert json.dumps(shown)[:-1] in documentation
