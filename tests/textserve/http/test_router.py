"""What all protocols over HTTP share, tested with the native protocol."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import zlib
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.asgi import Message, Serve
from textserve.errors import Overloaded
from textserve.http import router
from textserve.http.native import NATIVE

ONE_TEXT = '{"texts":["ż"]}'.encode()
FIRST, SECOND = "first-0123456789", "second-0123456789"


@pytest.fixture
def native(serve: Serve) -> Serve:
    return partial(serve, NATIVE)


def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    async def iterate() -> AsyncIterator[bytes]:
        for part in parts:
            yield part

    return iterate()


def error_of(answer: httpx.Response) -> dict[str, str]:
    content = answer.json()
    assert list(content) == ["error"]
    error: dict[str, str] = content["error"]
    return error


@pytest.mark.parametrize(("seconds", "header"), [(0.01, "1"), (1.0, "1"), (2.1, "3")])
def test_retry_after_is_in_whole_seconds(native: Serve, seconds: float, header: str) -> None:
    answer = native(Overloaded("retry later", retry_after=seconds)).post("/classify", ONE_TEXT)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, header)


@pytest.mark.parametrize("step", [1, 5, len(ONE_TEXT)])
def test_a_body_of_the_maximum_size_is_read_in_chunks(native: Serve, step: int) -> None:
    client = native(max_body_bytes=len(ONE_TEXT))
    parts = (ONE_TEXT[start : start + step] for start in range(0, len(ONE_TEXT), step))
    assert client.post("/classify", chunks(*parts)).status_code == 200
    assert client.runner.asked == [["ż"]]


@pytest.mark.parametrize(
    ("headers", "parts"), [([(b"content-length", b"101")], 0), ([], 3), ([(b"content-length", b"10")], 3)]
)
def test_a_body_is_read_no_further_once_it_is_too_large(
    native: Serve, headers: list[tuple[bytes, bytes]], parts: int
) -> None:
    client = native(max_body_bytes=100)
    part = {"type": "http.request", "body": b" " * 40, "more_body": True}
    sent, read = client.raw("/classify", headers, [part] * 10)
    assert (sent[0]["status"], read) == (413, parts)
    error = json.loads(sent[1]["body"])["error"]
    assert (error["type"], error["where"]) == ("body_too_large", "body")


@pytest.mark.parametrize("parts", [[b" " * 101], [b" " * 50, b" " * 51]])
def test_a_body_one_byte_too_large_is_rejected_and_its_connection_closed(native: Serve, parts: list[bytes]) -> None:
    client = native(max_body_bytes=100)
    for answer in (client.post("/classify", chunks(*parts)), client.post("/classify", b"".join(parts))):
        assert (answer.status_code, answer.headers["connection"]) == (413, "close")
    assert client.runner.asked == []


def test_an_incomplete_body_is_not_computed(native: Serve) -> None:
    client = native()
    client.raw(
        "/classify", [], [{"type": "http.request", "body": ONE_TEXT, "more_body": True}, {"type": "http.disconnect"}]
    )
    assert client.runner.asked == []
    assert client.outcomes() == {"invalid_request": 1}


@pytest.mark.parametrize("path", ["/schema.json", "/static_content/swagger-ui.css"])
def test_bentomls_paths_are_passed_on(native: Serve, path: str) -> None:
    answer = native().request("GET", path)
    assert (answer.status_code, answer.text) == (418, "wrapped")


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize("path", ["/nope", "//classify", "/classify/", "/classify/more", "/static_content"])
def test_an_unknown_path_is_not_found_and_counted(native: Serve, method: str, path: str) -> None:
    client = native()
    answer = client.request(method, path)
    assert answer.status_code == 404
    assert error_of(answer)["type"] == "not_found"
    assert client.passed_on == []
    assert client.outcomes() == {"not_found": 1}


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
def test_other_connections_than_http_are_passed_on(native: Serve, kind: str) -> None:
    client = native()
    scope = {"type": kind, "path": "/classify"}

    async def nothing(*messages: Message) -> Any:
        raise AssertionError("only the wrapped app receives and sends")

    asyncio.run(client.app(scope, nothing, nothing))
    assert client.passed_on == [scope]


def test_an_unexpected_error_is_returned_and_logged_without_the_text(
    native: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client = native(RuntimeError("cannot read 'tajemnica'"))
    answer = client.post("/classify", {"texts": ["tajemnica"]}, headers={"X-Request-Id": "mine-7"})
    assert answer.status_code == 500
    assert error_of(answer)["type"] == "internal"
    assert "tajemnica" not in answer.text
    assert "RuntimeError" in caplog.text
    assert "tests/asgi.py:" in caplog.text
    assert "mine-7" in caplog.text
    assert "tajemnica" not in caplog.text


def test_the_upload_is_no_time_of_the_service(native: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = 1.0

    async def slow() -> AsyncIterator[bytes]:
        nonlocal seconds
        yield ONE_TEXT[:5]
        seconds += 100
        yield ONE_TEXT[5:]

    monkeypatch.setattr(router, "time", SimpleNamespace(perf_counter=lambda: seconds))
    client = native(max_body_bytes=len(ONE_TEXT))
    assert client.post("/classify", slow()).status_code == 200
    assert client.post("/classify", b" " * 100).status_code == 413
    labels = {"protocol": "native"}
    value = client.application.metrics_registry.get_sample_value
    assert value("textserve_request_seconds_count", labels) == 2
    assert value("textserve_request_seconds_sum", labels) == 0


def test_requests_are_in_flight_once_they_have_arrived(native: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    client, found = native(), []
    classify = client.runner.classify

    def in_flight(when: str) -> None:
        found.append((when, client.application.metrics_registry.get_sample_value("textserve_requests_in_flight")))

    async def body() -> AsyncIterator[bytes]:
        yield ONE_TEXT[:5]
        in_flight("uploads")
        yield ONE_TEXT[5:]

    async def watched(*arguments: Any) -> Any:
        in_flight("is computed")
        return await classify(*arguments)

    monkeypatch.setattr(client.runner, "classify", watched)
    assert client.post("/classify", body()).status_code == 200
    metrics = client.request("GET", "/metrics").text
    assert found == [("uploads", 0), ("is computed", 1)]
    assert "textserve_requests_in_flight 0.0" in metrics


def test_the_metrics_count_requests_by_outcome_with_a_fixed_set_of_labels(native: Serve) -> None:
    client = native(max_texts=1)
    for body in (ONE_TEXT, ONE_TEXT, b"{}", b'{"texts":["a"],"odd key":1}', b"nonsense", b'{"texts":["a","b"]}'):
        client.post("/classify", body)
    client.request("GET", "/some/other/path")
    assert client.outcomes() == {"ok": 2, "invalid_request": 3, "too_many_texts": 1, "not_found": 1}


def test_the_metrics_are_in_the_text_format_of_prometheus(native: Serve) -> None:
    answer = native().request("GET", "/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "textserve_requests" in {family.name for family in text_string_to_metric_families(answer.text)}


def test_a_request_is_cancelled_when_its_client_disconnects(native: Serve) -> None:
    client = native(None)
    sent, read = client.raw("/classify", [], [{"type": "http.request", "body": ONE_TEXT}, {"type": "http.disconnect"}])
    assert (sent, read) == ([], 2)
    assert client.runner.asked == [["ż"]]
    assert client.runner.cancelled == 1
    assert client.outcomes() == {"cancelled": 1}


def test_a_request_that_the_server_cancels_is_not_a_disconnect(native: Serve) -> None:
    client = native(None)
    scope = {"type": "http", "method": "POST", "path": "/classify", "headers": []}

    async def run() -> None:
        messages: asyncio.Queue[Message] = asyncio.Queue()
        messages.put_nowait({"type": "http.request", "body": ONE_TEXT})
        task = asyncio.ensure_future(client.app(scope, messages.get, cast(Any, None)))
        while not client.runner.asked:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert client.runner.cancelled == 1


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_compressed_body_is_read(native: Serve, encoding: str, compress: Any) -> None:
    client = native()
    answer = client.post("/classify", compress(ONE_TEXT), {"content-encoding": encoding})
    assert answer.status_code == 200
    assert client.runner.asked == [["ż"]]


@pytest.mark.parametrize(
    ("encoding", "body", "status", "where"),
    [
        ("gzip", gzip.compress(b" " * 1_000_000), 413, "body"),
        ("gzip", b"not gzip", 400, "body"),
        ("br", ONE_TEXT, 400, "content-encoding"),
    ],
)
def test_a_body_that_cannot_be_decompressed_within_the_limit_is_rejected(
    native: Serve, encoding: str, body: bytes, status: int, where: str
) -> None:
    client = native(max_body_bytes=10_000)
    answer = client.post("/classify", body, {"content-encoding": encoding})
    assert (answer.status_code, error_of(answer)["where"]) == (status, where)
    assert client.runner.asked == []


def test_headers_have_the_timing_the_tokens_and_the_model(native: Serve) -> None:
    headers = native().post("/classify", {"texts": ["a", "b"]}).headers
    assert headers["server-timing"] == "tokenization;dur=1.00, queue;dur=2.00, inference;dur=3.00"
    assert headers["x-compute-tokens"] == "6"
    assert headers["x-model-version"] == "tiny:1"


@pytest.mark.parametrize(
    ("methods", "path", "allowed"),
    [
        (["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"], "/classify", "POST"),
        *((["POST"], path, "GET, HEAD") for path in ("/metrics", "/livez", "/static_content/swagger-ui.css")),
    ],
)
def test_another_method_is_rejected_with_those_allowed(
    native: Serve, methods: list[str], path: str, allowed: str
) -> None:
    client = native()
    for method in methods:
        answer = client.request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
        assert error_of(answer)["type"] == "method_not_allowed"
    assert client.passed_on == []
    assert client.outcomes() == {"method_not_allowed": len(methods)}


@pytest.mark.parametrize(("path", "status"), [("/metrics", 200), ("/livez", 200), ("/static_content/a.css", 418)])
def test_head_is_answered_as_get(native: Serve, path: str, status: int) -> None:
    assert native().request("HEAD", path).status_code == status


@pytest.mark.parametrize("key", [FIRST, SECOND])
def test_a_request_with_a_key_is_answered_or_passed_on(native: Serve, key: str) -> None:
    client = native(api_keys=f"{FIRST},{SECOND}")
    headers = {"authorization": f"Bearer {key}"}
    assert client.post("/classify", ONE_TEXT, headers).status_code == 200
    assert client.request("GET", "/schema.json", headers=headers).status_code == 418


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer third"}, {"authorization": f"Basic {FIRST}"}])
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/classify"), ("GET", "/classify"), ("GET", "/schema.json"), ("GET", "/nothing")]
)
def test_a_request_without_a_key_is_rejected_on_every_path(
    native: Serve, headers: dict[str, str], method: str, path: str
) -> None:
    client = native(api_keys=f"{FIRST},{SECOND}")
    answer = client.request(method, path, ONE_TEXT, headers)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert error_of(answer)["type"] == "unauthorized"
    assert (client.runner.asked, client.passed_on) == ([], [])
    assert client.outcomes() == {"unauthorized": 1}


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz", "/health", "/metrics"])
def test_health_and_metrics_need_no_key(native: Serve, path: str) -> None:
    assert native(api_keys=FIRST).request("GET", path).status_code == 200


def test_an_open_protocol_needs_no_key(serve: Serve) -> None:
    client = serve(replace(NATIVE, open=True), api_keys=FIRST)
    assert client.post("/classify", ONE_TEXT).status_code == 200


def test_the_body_of_a_request_without_a_key_is_not_read(native: Serve) -> None:
    client = native(api_keys=FIRST)
    sent, read = client.raw("/classify", [], [{"type": "http.request", "body": ONE_TEXT}])
    assert (sent[0]["status"], read) == (401, 0)
    assert (b"connection", b"close") in sent[0]["headers"]


def test_neither_a_key_nor_a_wrong_key_is_logged(native: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    answer = native(api_keys="the-correct-key!").post("/classify", ONE_TEXT, {"authorization": "Bearer wrong-key"})
    assert not [word for word in ("the-correct-key!", "wrong-key") if word in caplog.text + answer.text]


def test_a_request_keeps_its_id(native: Serve) -> None:
    for body in (ONE_TEXT, b"nonsense"):
        assert native().post("/classify", body, {"x-request-id": "order-7"}).headers["x-request-id"] == "order-7"


@pytest.mark.parametrize("sent", [None, "", "two words", "x" * 129])
def test_a_request_without_a_usable_id_gets_one(native: Serve, sent: str | None) -> None:
    headers = {} if sent is None else {"x-request-id": sent}
    ids = {native().post("/classify", ONE_TEXT, headers).headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3
    assert sent not in ids
