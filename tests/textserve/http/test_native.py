from __future__ import annotations

import asyncio
import codecs
import json
import logging
from functools import partial
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from tests.asgi import MEANINGS, Message, Serve
from textserve.application import Application
from textserve.classifier import Classifier
from textserve.errors import InputTooLong, InvalidRequest
from textserve.http.formats import read
from textserve.http.native import NATIVE, PROBLEMS, ClassifyRequest, ClassifyResponse
from textserve.http.router import HttpProtocols
from textserve.metrics import RequestMetrics, RunnerMetrics
from textserve.runner import Prediction, Runner
from textserve.settings import Settings

ONE_TEXT = b'{"texts":["a"]}'
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(), values, max_size=4),
    max_leaves=8,
)


@pytest.fixture
def native(serve: Serve) -> Serve:
    return partial(serve, NATIVE)


def body_of(content: object) -> bytes:
    return json.dumps(content).encode()


def error_of(answer: httpx.Response) -> dict[str, str]:
    content = answer.json()
    assert list(content) == ["error"]
    error: dict[str, str] = content["error"]
    return error


def test_the_answer_has_the_documented_shape(native: Serve) -> None:
    predictions = [
        Prediction(MEANINGS, [0.1234567, 0.2, 0.6765433], tokens=5, truncated=False),
        Prediction(MEANINGS, [0.75, 0.25, 0.0], tokens=512, truncated=True),
    ]
    answer = native(predictions).post("/classify", body_of({"texts": ["Dobre, polecam.", "..."]}))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "model": "tiny:1",
        "results": [
            {
                "label": "positive",
                "score": 0.676543,
                "scores": {"negative": 0.123457, "neutral": 0.2, "positive": 0.676543},
                "tokens": 5,
                "truncated": False,
            },
            {
                "label": "negative",
                "score": 0.75,
                "scores": {"negative": 0.75, "neutral": 0.25, "positive": 0.0},
                "tokens": 512,
                "truncated": True,
            },
        ],
    }
    assert ClassifyResponse.model_validate(answer.json(), strict=True).model_dump() == answer.json()


def test_the_model_answers_over_http(classifier: Classifier) -> None:
    async def run() -> dict[str, Any]:
        registry = CollectorRegistry()
        settings = Settings(threads=1)
        runner = Runner(classifier, settings, RunnerMetrics(registry))
        application = Application(
            "tiny:1", settings, classifier, runner, registry, RequestMetrics(registry), ready=True
        )
        app: Any = HttpProtocols(never, lambda: application, [NATIVE])
        application.start()
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            answer = await client.post(
                "/classify",
                json={"texts": ["I love this phone, it works perfectly.", "The worst service I have ever had."]},
            )
        await application.close()
        content: dict[str, Any] = answer.json()
        return content

    results = asyncio.run(run())["results"]
    assert [result["label"] for result in results] == ["positive", "negative"]
    for result in results:
        assert sum(result["scores"].values()) == pytest.approx(1, abs=1e-5)
        assert result["score"] == max(result["scores"].values())


async def never(scope: Message, receive: object, send: object) -> None:
    raise AssertionError("nothing is passed on here")


@pytest.mark.parametrize(
    ("body", "where"),
    [
        pytest.param(b"", "body", id="nothing"),
        pytest.param(b"{", "body", id="cut off"),
        pytest.param(ONE_TEXT + b"x", "body", id="more than JSON"),
        pytest.param('{"texts":["ż"]}'.encode("iso-8859-2"), "body", id="not UTF-8"),
        pytest.param(rb'{"texts":["a","\ud83d\ude00","\ud800"]}', "texts[2]", id="half of a surrogate pair"),
        pytest.param(b"[" * 10_000, "body", id="deeply nested"),
        pytest.param(b'["a"]', "body", id="a list"),
        pytest.param(b"null", "body", id="null"),
        pytest.param(b"{}", "texts", id="no texts"),
        pytest.param(b'{"texts":"a"}', "texts", id="a single text"),
        pytest.param(b'{"texts":null}', "texts", id="null for texts"),
        pytest.param(b'{"texts":["a",1]}', "texts[1]", id="a number for a text"),
        pytest.param(b'{"texts":[["a"]]}', "texts[0]", id="a list for a text"),
        pytest.param(b'{"texts":["a"],"lang":"pl"}', "lang", id="an unknown key"),
        pytest.param(b'{"texts":["a"],"truncate":"no"}', "truncate", id="a word for a flag"),
        pytest.param(b'{"texts":["a"],"truncate":0}', "truncate", id="a number for a flag"),
        pytest.param(b'{"texts":["a"],"truncate":null}', "truncate", id="null for a flag"),
    ],
)
def test_a_body_that_is_not_as_documented_is_refused_with_what_is_wrong(native: Serve, body: bytes, where: str) -> None:
    client = native()
    answer = client.post("/classify", body)
    assert answer.status_code == 400
    error = error_of(answer)
    assert (error["type"], error["where"]) == ("invalid_request", where)
    assert error["message"].startswith(f"{where} ")
    assert client.runner.asked == []


@pytest.mark.parametrize(
    ("texts", "status", "kind", "where"),
    [
        ([], 400, "empty_input", "texts"),
        (["a", " \n"], 400, "empty_input", "texts[1]"),
        (["a", "b", "c"], 413, "too_many_texts", "texts"),
        (["a" * 6], 413, "text_too_long", "texts[0]"),
    ],
)
def test_texts_beyond_the_limits_are_refused_with_the_place(
    native: Serve, texts: list[str], status: int, kind: str, where: str
) -> None:
    answer = native(max_texts=2, max_characters=5).post("/classify", body_of({"texts": texts}))
    assert answer.status_code == status
    error = error_of(answer)
    assert (error["type"], error["where"]) == (kind, where)


@pytest.mark.parametrize(
    "body", ['{"texts":["tajemnica"', '{"texts":["tajemnica",1]}', '{"texts":["' + "tajemnica" * 10 + '"]}']
)
def test_a_refused_text_is_neither_answered_nor_logged(
    native: Serve, caplog: pytest.LogCaptureFixture, body: str
) -> None:
    caplog.set_level(logging.DEBUG, logger="textserve")
    answer = native(max_characters=20).post("/classify", body.encode())
    assert answer.status_code in (400, 413)
    assert "tajemnica" not in answer.text
    assert "tajemnica" not in caplog.text


@pytest.mark.parametrize(
    ("given_", "expected"), [({}, "right"), ({"truncate": True}, "right"), ({"truncate": False}, None)]
)
def test_a_long_text_is_cut_off_unless_the_caller_says_otherwise(
    native: Serve, given_: dict[str, bool], expected: str | None
) -> None:
    client = native()
    assert client.post("/classify", {"texts": ["a"], **given_}).status_code == 200
    assert client.runner.truncations == [expected]


def test_a_text_that_may_not_be_cut_off_is_refused_by_its_place(native: Serve) -> None:
    refusal = InputTooLong("has more than 512 tokens; send a shorter text, or let it be truncated", where="texts[1]")
    answer = native(refusal).post("/classify", {"texts": ["a", "b"], "truncate": False})
    assert answer.status_code == 413
    assert error_of(answer) == {
        "type": "input_too_long",
        "where": "texts[1]",
        "message": "texts[1] has more than 512 tokens; send a shorter text, or let it be truncated",
    }


@settings(deadline=None)
@given(texts=st.lists(st.text(), max_size=8), escaped=st.booleans())
def test_texts_are_read_as_they_were_written(texts: list[str], escaped: bool) -> None:
    assert read(ClassifyRequest, json.dumps({"texts": texts}, ensure_ascii=escaped).encode(), PROBLEMS).texts == texts


@settings(deadline=None)
@given(
    body=st.binary(max_size=40) | JSON_VALUES.map(body_of) | JSON_VALUES.map(lambda value: body_of({"texts": value}))
)
def test_any_body_is_a_list_of_texts_or_an_invalid_request_that_says_where(body: bytes) -> None:
    texts, where = None, None
    try:
        texts = read(ClassifyRequest, body, PROBLEMS).texts
    except InvalidRequest as refusal:
        where = refusal.where
    assert where if texts is None else json.loads(body)["texts"] == texts


def test_a_byte_order_mark_is_ignored(native: Serve) -> None:
    assert native().post("/classify", codecs.BOM_UTF8 + b'{"texts":["a"]}').status_code == 200
