from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, MutableMapping, Sequence
from typing import Any, cast

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from sentiment.application import Application
from sentiment.classifier import Classifier
from sentiment.errors import InvalidRequest, Overloaded, SentimentError
from sentiment.metrics import RequestMetrics, RunnerMetrics
from sentiment.protocols.native import ClassifyResponse, NativeProtocol, parse
from sentiment.runner import Prediction, Runner
from sentiment.settings import Settings

Message = MutableMapping[str, Any]
Outcome = list[Prediction] | Exception
Native = Callable[..., "Client"]

ONE_TEXT = b'{"texts":["a"]}'
ANSWER = [Prediction([0.1, 0.2, 0.7], tokens=3, truncated=False)]
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(), values, max_size=4),
    max_leaves=8,
)


class FakeRunner:
    """Answers every request with one outcome, and remembers what it was asked."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.asked: list[list[str]] = []

    async def classify(self, texts: Sequence[str]) -> list[Prediction]:
        self.asked.append(list(texts))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


class Client:
    """The protocol in front of an application with a fake runner, and in front of an app that answers 418."""

    def __init__(self, classifier: Classifier, outcome: Outcome, **limits: int) -> None:
        registry = CollectorRegistry()
        self.runner = FakeRunner(outcome)
        self.application = Application(
            tag="tiny:1",
            settings=Settings.model_validate(limits),
            classifier=classifier,
            runner=cast(Runner, self.runner),
            registry=registry,
            requests=RequestMetrics(registry),
            ready=True,
        )
        self.passed_on: list[Message] = []
        self.protocol = NativeProtocol(self._wrapped, lambda: self.application)

    async def _wrapped(self, scope: Message, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        self.passed_on.append(scope)
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 418, "headers": []})
            await send({"type": "http.response.body", "body": b"wrapped"})

    def request(self, method: str, path: str, content: bytes | AsyncIterator[bytes] | None = None) -> httpx.Response:
        async def run() -> httpx.Response:
            app: Any = self.protocol
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
                return await client.request(method, path, content=content)

        return asyncio.run(run())

    def post(self, content: bytes | AsyncIterator[bytes]) -> httpx.Response:
        return self.request("POST", "/classify", content)

    def raw(self, headers: list[tuple[bytes, bytes]], messages: Sequence[Message]) -> tuple[list[Message], int]:
        """What is sent in answer to a POST to /classify, and how many of the messages of the body were read."""
        sent: list[Message] = []
        incoming = list(messages)

        async def receive() -> Message:
            return incoming.pop(0)

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/classify", "headers": headers}
        asyncio.run(self.protocol(scope, receive, send))
        return sent, len(messages) - len(incoming)

    def outcomes(self) -> dict[str, float]:
        """How many requests there were by outcome, as /metrics has it."""
        text = self.request("GET", "/metrics").text
        return {
            sample.labels["outcome"]: sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "sentiment_requests_total"
        }


@pytest.fixture
def native(classifier: Classifier) -> Native:
    def build(outcome: Outcome = ANSWER, **limits: int) -> Client:
        return Client(classifier, outcome, **limits)

    return build


def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    async def iterate() -> AsyncIterator[bytes]:
        for part in parts:
            yield part

    return iterate()


def body_of(content: object) -> bytes:
    return json.dumps(content).encode()


def error_of(answer: httpx.Response) -> dict[str, str]:
    content = answer.json()
    assert list(content) == ["error"]
    error: dict[str, str] = content["error"]
    return error


def test_the_answer_has_the_documented_shape(native: Native) -> None:
    predictions = [
        Prediction([0.1234567, 0.2, 0.6765433], tokens=5, truncated=False),
        Prediction([0.75, 0.25, 0.0], tokens=512, truncated=True),
    ]
    answer = native(predictions).post(body_of({"texts": ["Dobre, polecam.", "..."]}))
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
        app: Any = NativeProtocol(never, lambda: application)
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
        pytest.param(rb'{"texts":["\ud800"]}', "body", id="half of a surrogate pair"),
        pytest.param(b"[" * 10_000, "body", id="deeply nested"),
        pytest.param(b'["a"]', "body", id="a list"),
        pytest.param(b"null", "body", id="null"),
        pytest.param(b"{}", "texts", id="no texts"),
        pytest.param(b'{"texts":"a"}', "texts", id="a single text"),
        pytest.param(b'{"texts":null}', "texts", id="null for texts"),
        pytest.param(b'{"texts":["a",1]}', "texts[1]", id="a number for a text"),
        pytest.param(b'{"texts":[["a"]]}', "texts[0]", id="a list for a text"),
        pytest.param(b'{"texts":["a"],"lang":"pl"}', "lang", id="an unknown key"),
    ],
)
def test_a_body_that_is_not_as_documented_is_refused_with_what_is_wrong(
    native: Native, body: bytes, where: str
) -> None:
    client = native()
    answer = client.post(body)
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
    native: Native, texts: list[str], status: int, kind: str, where: str
) -> None:
    answer = native(max_texts=2, max_characters=5).post(body_of({"texts": texts}))
    assert answer.status_code == status
    error = error_of(answer)
    assert (error["type"], error["where"]) == (kind, where)


@pytest.mark.parametrize("kind", SentimentError.__subclasses__())
def test_an_error_is_answered_with_its_own_status_and_type(native: Native, kind: type[SentimentError]) -> None:
    answer = native(kind("cannot be done")).post(ONE_TEXT)
    assert answer.status_code == kind.status
    assert error_of(answer) == {"type": kind.type, "message": "cannot be done"}
    assert "retry-after" not in answer.headers


@pytest.mark.parametrize(("seconds", "header"), [(0.01, "1"), (1.0, "1"), (2.1, "3")])
def test_an_overloaded_service_says_in_whole_seconds_when_to_come_back(
    native: Native, seconds: float, header: str
) -> None:
    answer = native(Overloaded("come back later", retry_after=seconds)).post(ONE_TEXT)
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == header


def test_a_body_of_the_largest_size_is_answered(native: Native) -> None:
    client = native(max_body_bytes=len(ONE_TEXT))
    assert client.post(ONE_TEXT).status_code == 200
    assert client.post(chunks(ONE_TEXT[:5], ONE_TEXT[5:])).status_code == 200
    assert client.runner.asked == [["a"], ["a"]]


def test_a_body_that_comes_in_chunks_is_put_together(native: Native) -> None:
    client = native()
    text = "zażółć"
    body = json.dumps({"texts": [text]}, ensure_ascii=False).encode()
    assert client.post(chunks(*(body[place : place + 1] for place in range(len(body))))).status_code == 200
    assert client.runner.asked == [[text]]


def test_a_body_that_says_it_is_too_large_is_refused_unread(native: Native) -> None:
    client = native(max_body_bytes=100)
    sent, read = client.raw([(b"content-length", b"101")], [{"type": "http.request", "body": ONE_TEXT}])
    assert read == 0
    assert sent[0]["status"] == 413
    assert json.loads(sent[1]["body"])["error"]["type"] == "body_too_large"


@pytest.mark.parametrize("headers", [[], [(b"content-length", b"10")]])
def test_a_body_that_becomes_too_large_is_refused_before_its_end(
    native: Native, headers: list[tuple[bytes, bytes]]
) -> None:
    client = native(max_body_bytes=100)
    part = {"type": "http.request", "body": b" " * 40, "more_body": True}
    sent, read = client.raw(headers, [part] * 10)
    assert read == 3
    assert sent[0]["status"] == 413
    error = json.loads(sent[1]["body"])["error"]
    assert (error["type"], error["where"]) == ("body_too_large", "body")


@pytest.mark.parametrize("parts", [[b" " * 101], [b" " * 50, b" " * 51]])
def test_a_body_one_byte_too_large_is_refused_and_its_connection_closed(native: Native, parts: list[bytes]) -> None:
    client = native(max_body_bytes=100)
    for answer in (client.post(chunks(*parts)), client.post(b"".join(parts))):
        assert answer.status_code == 413
        assert answer.headers["connection"] == "close"
    assert client.runner.asked == []


def test_a_body_that_becomes_too_large_with_its_last_part_is_refused(native: Native) -> None:
    client = native(max_body_bytes=len(ONE_TEXT) - 1)
    parts = [
        {"type": "http.request", "body": ONE_TEXT[:5], "more_body": True},
        {"type": "http.request", "body": ONE_TEXT[5:], "more_body": False},
    ]
    sent, _ = client.raw([], parts)
    assert sent[0]["status"] == 413
    assert client.runner.asked == []


def test_a_body_that_ends_early_is_not_computed(native: Native) -> None:
    client = native()
    client.raw([], [{"type": "http.request", "body": ONE_TEXT, "more_body": True}, {"type": "http.disconnect"}])
    assert client.runner.asked == []
    assert client.outcomes() == {"invalid_request": 1}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/classify"),
        ("OPTIONS", "/classify"),
        ("POST", "/classify/"),
        ("POST", "/classify/more"),
        ("POST", "/metrics"),
        ("GET", "/"),
        ("GET", "/readyz"),
    ],
)
def test_every_other_request_is_passed_on(native: Native, method: str, path: str) -> None:
    client = native()
    answer = client.request(method, path)
    assert (answer.status_code, answer.text) == (418, "wrapped")
    assert client.runner.asked == []


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
def test_what_is_not_http_is_passed_on(native: Native, kind: str) -> None:
    client = native()
    scope = {"type": kind, "path": "/classify"}

    async def nothing(*messages: Message) -> Any:
        raise AssertionError("only the wrapped app talks here")

    asyncio.run(client.protocol(scope, nothing, nothing))
    assert client.passed_on == [scope]


def test_an_unexpected_error_is_answered_and_logged_without_the_text(
    native: Native, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answer = native(RuntimeError("cannot read 'tajemnica'")).post(body_of({"texts": ["tajemnica"]}))
    assert answer.status_code == 500
    assert error_of(answer)["type"] == "internal"
    assert "tajemnica" not in answer.text
    assert "RuntimeError" in caplog.text
    assert f"{__file__}:" in caplog.text
    assert "tajemnica" not in caplog.text


@pytest.mark.parametrize(
    "body", ['{"texts":["tajemnica"', '{"texts":["tajemnica",1]}', '{"texts":["' + "tajemnica" * 10 + '"]}']
)
def test_a_refused_text_is_neither_answered_nor_logged(
    native: Native, caplog: pytest.LogCaptureFixture, body: str
) -> None:
    caplog.set_level(logging.DEBUG, logger="sentiment")
    answer = native(max_characters=20).post(body.encode())
    assert answer.status_code in (400, 413)
    assert "tajemnica" not in answer.text
    assert "tajemnica" not in caplog.text


def test_the_metrics_count_requests_by_outcome_with_a_fixed_set_of_labels(native: Native) -> None:
    client = native(max_texts=1)
    for body in (ONE_TEXT, ONE_TEXT, b"{}", b'{"texts":["a"],"odd key":1}', b"nonsense", b'{"texts":["a","b"]}'):
        client.post(body)
    client.request("GET", "/some/other/path")
    assert client.outcomes() == {"ok": 2, "invalid_request": 3, "too_many_texts": 1}


def test_the_metrics_are_text_for_prometheus(native: Native) -> None:
    answer = native().request("GET", "/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "sentiment_requests" in {family.name for family in text_string_to_metric_families(answer.text)}


@settings(deadline=None)
@given(texts=st.lists(st.text(), max_size=8), escaped=st.booleans())
def test_texts_are_read_as_they_were_written(texts: list[str], escaped: bool) -> None:
    assert parse(json.dumps({"texts": texts}, ensure_ascii=escaped).encode()) == texts


@settings(deadline=None)
@given(
    body=st.binary(max_size=40) | JSON_VALUES.map(body_of) | JSON_VALUES.map(lambda value: body_of({"texts": value}))
)
def test_any_body_is_a_list_of_texts_or_an_invalid_request_that_says_where(body: bytes) -> None:
    texts, where = None, None
    try:
        texts = parse(body)
    except InvalidRequest as refusal:
        where = refusal.where
    assert where if texts is None else json.loads(body) == {"texts": texts}
