"""HTTP as clients send it, byte by byte, to the real service."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.server import LIMIT_SECONDS, Server, serve
from textserve.bento.connection import MAX_HEAD_BYTES, MAX_URL_BYTES

BODY = json.dumps({"texts": ["Świetny film!"]}).encode()
# What java.net.http.HttpClient of OpenJDK 17.0.15 sends by default, recorded; the body comes in a segment of its own.
JAVA = (
    b"POST /classify HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nContent-Length: %d\r\nHost: 127.0.0.1:3600\r\n"
    b"HTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA\r\nUpgrade: h2c\r\n"
    b"User-Agent: Java-http-client/17.0.15\r\nContent-Type: application/json\r\n\r\n" % len(BODY)
)
CHUNKED = JAVA.replace(b"Content-Length: %d" % len(BODY), b"Transfer-Encoding: chunked")
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
PLAIN = b"POST /classify HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n" % len(BODY)


SETTINGS: dict[str, Any] = {
    "TEXTSERVE_THREADS": "1",
    "TEXTSERVE_MAX_QUEUE_SECONDS": "600",
    "TEXTSERVE_REQUEST_SECONDS": "600",
}


@pytest.fixture(scope="module")
def server(store: Path) -> Iterator[Server]:
    with serve(store, TEXTSERVE_RECEIVE_SECONDS="600", **SETTINGS) as running:
        yield running


@pytest.fixture(scope="module")
def impatient(store: Path) -> Iterator[Server]:
    with serve(store, TEXTSERVE_RECEIVE_SECONDS="2", **SETTINGS) as running:
        yield running


def long_body(count: int) -> bytes:
    """A body with ``count`` long texts, all different: equal texts would be computed once."""
    texts = [f"{number}. {'A long text that takes a while. ' * 60}" for number in range(count)]
    return json.dumps({"texts": texts}).encode()


@pytest.fixture
def full(store: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server whose queue is full, with a request of long texts; the fixture's parameter has more settings."""
    body, settings = long_body(100), {"TEXTSERVE_MAX_WAITING_TOKENS": "1", **SETTINGS, **getattr(request, "param", {})}
    with serve(store, **settings) as running, connect(running) as client:
        client.sendall(PLAIN.replace(b"%d" % len(BODY), b"%d" % len(body)) + body)
        while "textserve_waiting_tokens 0.0" in httpx.get(f"{running.url}/metrics").text:
            pass
        yield running


def connect(server: Server) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", server.port), timeout=LIMIT_SECONDS)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def read_response(client: socket.socket) -> tuple[int, Any]:
    response = http.client.HTTPResponse(client)
    response.begin()
    return response.status, json.loads(response.read())


def exchange(server: Server, *segments: bytes) -> tuple[int, Any]:
    """The status and JSON of the response to a request that is sent in segments."""
    with connect(server) as client:
        for segment in segments:
            client.sendall(segment)
            # The service has read the segment once it has answered another connection.
            httpx.get(f"{server.url}/livez")
        return read_response(client)


def growth(server: Server, sent: bytes) -> int:
    """By how many bytes the service's memory has grown once it has closed the connection that sends ``sent``."""
    (process,) = server.processes()
    before = process.memory_info().rss
    # The service reads on for a while; if not everything is sent by then, it resets the connection.
    with connect(server) as client, contextlib.suppress(ConnectionError):
        client.sendall(sent)
        while client.recv(2**16):
            pass
    return int(process.memory_info().rss - before)


def label(answer: Any) -> str:
    found: str = answer["results"][0]["label"]
    return found


@pytest.mark.parametrize(
    "segments",
    [
        (JAVA + BODY,),
        (JAVA, BODY),
        (JAVA[:80], JAVA[80:] + BODY[:5], BODY[5:]),
        (JAVA[:-2], JAVA[-2:], BODY[:1], BODY[1:]),
        (CHUNKED + CHUNKS,),
        (CHUNKED, CHUNKS[:7], CHUNKS[7:]),
        (JAVA.replace(b"h2c", b"websocket") + BODY,),
    ],
)
def test_a_request_to_upgrade_is_answered_without_an_upgrade(server: Server, segments: Sequence[bytes]) -> None:
    status, answer = exchange(server, *segments)
    assert (status, label(answer)) == (200, "positive")


def test_a_connection_is_kept_after_a_request_to_upgrade(server: Server) -> None:
    with connect(server) as client:
        for _ in range(3):
            client.sendall(JAVA + BODY)
            assert read_response(client)[0] == 200


def test_pipelined_requests_to_upgrade_are_all_answered(server: Server) -> None:
    with connect(server) as client:
        client.sendall((JAVA + BODY) * 3)
        client.shutdown(socket.SHUT_WR)
        received = client.makefile("rb").read()
    assert received.count(b"HTTP/1.1 200 OK") == 3


@pytest.mark.parametrize(
    ("sent", "status", "where"),
    [
        (b"GET /" + b"a" * MAX_URL_BYTES + b" HTTP/1.1\r\n\r\n", 414, "url"),
        (b"GET /info HTTP/1.1\r\nx: " + b"a" * MAX_HEAD_BYTES + b"\r\n\r\n", 431, "headers"),
        (b"GET /info HTTP/1.1\r\n" + b"x: a\r\n" * MAX_HEAD_BYTES, 431, "headers"),
        (b"hello\r\n\r\n", 400, "request"),
        (PLAIN.replace(b": test", b"") + BODY, 400, "request"),
        (b"GET /info HTTP/1.1\r\n\r\n", 400, "headers"),
        (b"GET /info HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "headers"),
        (b"GET /info HTTP/2.0\r\nHost: a\r\n\r\n", 400, "request"),
        (CHUNKED.replace(b"chunked", b"gzip, chunked") + CHUNKS, 400, "Transfer-Encoding"),
        (b"CONNECT example.org:443 HTTP/1.1\r\nHost: test\r\n\r\n", 400, "method"),
    ],
)
def test_what_is_not_a_request_within_the_limits_is_answered_and_closed(
    server: Server, sent: bytes, status: int, where: str
) -> None:
    with connect(server) as client:
        client.sendall(sent)
        found, answer = read_response(client)
        assert client.recv(1) == b""
    assert (found, answer["error"]["where"]) == (status, where)


LONG = b"POST /classify HTTP/1.1\r\nHost: test\r\nContent-Length: 4000000\r\n\r\n" + b" " * 3_999_999


@pytest.mark.parametrize("sent", [PLAIN + BODY[:-1], PLAIN[:30], CHUNKED + CHUNKS[:9], LONG])
def test_what_does_not_arrive_in_time_is_answered_and_closed(impatient: Server, sent: bytes) -> None:
    with connect(impatient) as client:
        client.sendall(sent)
        status, answer = read_response(client)
        assert client.recv(1) == b""
    assert (status, answer["error"]["where"]) == (408, "request")


def test_a_header_without_an_end_is_refused_before_it_fills_the_memory(server: Server) -> None:
    assert growth(server, b"GET /info HTTP/1.1\r\nx: " + b"a" * 2**26) < 2**24


@pytest.mark.parametrize("path", [b"/classify", b"/livez"])
@pytest.mark.parametrize("endless", [b"x: a\r\n", b"a"])
def test_trailers_without_an_end_are_refused(server: Server, path: bytes, endless: bytes) -> None:
    head = b"POST %b HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nx: " % path
    assert growth(server, head + endless * (2**26 // len(endless))) < 2**24


def test_a_trailer_is_no_header_of_its_request_nor_of_the_next(server: Server) -> None:
    trailed = CHUNKED.replace(b"Upgrade, HTTP2-Settings", b"keep-alive") + CHUNKS[:-2] + b"X-Request-Id: late\r\n\r\n"
    with connect(server) as client:
        client.sendall(trailed + PLAIN + BODY)
        for _ in range(2):
            response = http.client.HTTPResponse(client)
            response.begin()
            assert response.status == 200
            assert response.headers["x-request-id"] != "late"
            response.read()


def test_a_long_answer_does_not_wait_for_the_limit_of_the_next_request(impatient: Server) -> None:
    long = long_body(20)
    first = PLAIN.replace(b"%d" % len(BODY), b"%d" % len(long)) + long
    with connect(impatient) as client:
        client.sendall(first + PLAIN + BODY[:5])
        assert read_response(client)[0] == 200
        client.sendall(BODY[5:])
        assert read_response(client)[0] == 200


@pytest.mark.parametrize("second", [b"hello\r\n\r\n", PLAIN.replace(b"Host: test\r\n", b"") + BODY])
def test_a_request_is_answered_before_an_invalid_one_behind_it_closes_the_connection(
    server: Server, second: bytes
) -> None:
    with connect(server) as client:
        client.sendall(PLAIN + BODY + second)
        assert read_response(client)[0] == 200
        assert client.recv(1) == b""


def test_a_connection_that_sends_no_further_request_is_closed(impatient: Server) -> None:
    with connect(impatient) as client:
        client.sendall(PLAIN + BODY)
        assert read_response(client)[0] == 200
        client.sendall(b"\r\n")
        assert client.recv(1) == b""


def test_a_connection_without_a_request_is_closed(impatient: Server) -> None:
    with connect(impatient) as client:
        assert client.recv(1) == b""


def test_a_client_that_has_shut_down_its_sending_side_is_answered(server: Server) -> None:
    with connect(server) as client:
        client.sendall(PLAIN + BODY)
        client.shutdown(socket.SHUT_WR)
        status, answer = read_response(client)
        assert client.recv(1) == b""
    assert (status, label(answer)) == (200, "positive")


def test_the_request_of_a_client_that_is_gone_is_dropped(server: Server) -> None:
    body = long_body(100)
    with connect(server) as client:
        client.sendall(PLAIN.replace(b"%d" % len(BODY), b"%d" % len(body)) + body)
        while "textserve_waiting_tokens 0.0" in httpx.get(f"{server.url}/metrics").text:
            pass
    while "textserve_waiting_tokens 0.0" not in httpx.get(f"{server.url}/metrics").text:
        pass
    cancelled = 'textserve_requests_total{outcome="cancelled",protocol="native"} 1.0'
    assert cancelled in httpx.get(f"{server.url}/metrics").text


def test_what_is_refused_is_counted(server: Server) -> None:
    exchange(server, b"hello\r\n\r\n")
    metrics = httpx.get(f"{server.url}/metrics").text
    assert 'textserve_requests_total{outcome="invalid_request",protocol="http"}' in metrics


def test_a_connection_whose_requests_are_refused_is_kept(full: Server) -> None:
    named = PLAIN.replace(b"Host", b"X-Request-Id: mine\r\nHost")
    with connect(full) as client:
        for segments in ([named + BODY], [named, BODY], [named[:30], named[30:] + BODY[:5], BODY[5:]]):
            for segment in segments:
                client.sendall(segment)
            response = http.client.HTTPResponse(client)
            response.begin()
            assert (response.status, response.headers["x-request-id"]) == (429, "mine")
            assert int(response.headers["retry-after"]) >= 1
            assert json.loads(response.read())["error"]["type"] == "overloaded"
    metrics = httpx.get(f"{full.url}/metrics").text
    assert 'textserve_requests_total{outcome="overloaded",protocol="native"} 3.0' in metrics


@pytest.mark.parametrize("full", [{"TEXTSERVE_RECEIVE_SECONDS": "2"}], indirect=True)
def test_a_refused_request_that_does_not_arrive_in_time_is_answered_too(full: Server) -> None:
    with connect(full) as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n")
        response = http.client.HTTPResponse(client)
        response.begin()
        response.read()
        client.sendall(PLAIN + BODY[:-1])
        status, answer = read_response(client)
        assert client.recv(1) == b""
    assert (status, answer["error"]["where"]) == (408, "request")


def test_pipelined_requests_are_answered_in_order_though_some_are_refused(full: Server) -> None:
    other = b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n"
    with connect(full) as client:
        client.sendall(PLAIN + BODY + other + (PLAIN + BODY) * 2)
        client.shutdown(socket.SHUT_WR)
        received = client.makefile("rb").read()
    statuses = re.findall(rb"HTTP/1\.1 ([2-5]\d\d)", received)
    assert statuses == [b"429", b"200", b"429", b"429"]
