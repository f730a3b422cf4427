"""HAProxy's socket, Prometheus and the mirror, where they do not answer as they should."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from operate.checks import Mirrored
from operate.errors import OperateError
from operate.haproxy import HAProxy
from operate.mirror import LONGEST, comparing
from operate.prometheus import newest
from tests.operate.stand import wait_for
from tests.server import LIMIT_SECONDS, free_port


@contextmanager
def answering(status: int, content: Any) -> Iterator[str]:
    """A server that answers every request so; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_proxy_that_does_not_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(OperateError, match=r"haproxy\.sock: HAProxy does not answer .* is it running"):
        HAProxy(tmp_path / "haproxy.sock").slots()


def test_a_proxy_without_both_versions_is_named(tmp_path: Path) -> None:
    path = tmp_path / "haproxy.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"# pxname,svname,weight,status\nhttp,blue,100,UP\ngrpc,blue,100,UP\n")

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(OperateError, match="no server green in each of http, grpc"):
            HAProxy(path).slots()


@pytest.mark.parametrize("address", ["http://127.0.0.1:{port}", "127.0.0.1:9090", "file:///etc/passwd"])
def test_a_prometheus_that_does_not_answer_is_named(address: str) -> None:
    with pytest.raises(OperateError, match="Prometheus"):
        newest(address.format(port=free_port()), ["up"])


@pytest.mark.parametrize("content", [[], {"data": None}, {"data": {"result": [{"metric": {}, "value": []}]}}])
def test_what_is_not_a_prometheus_is_named(content: Any) -> None:
    with answering(200, content) as address, pytest.raises(OperateError, match="not as Prometheus does"):
        newest(address, ["up"])


def test_samples_are_read_with_their_labels() -> None:
    series = {"metric": {"__name__": "up", "version": "blue"}, "value": [1700000000.0, "1"]}
    with answering(200, {"data": {"result": [series]}}) as address:
        (sample,) = newest(address, ["up"])
    assert (sample.labels["version"], sample.value) == ("blue", 1.0)


def test_labels_of_mirrored_texts_are_compared_one_by_one() -> None:
    one = {"results": [{"label": "positive"}, {"label": "neutral"}, {"labels": ["a", "b"]}]}
    two = {"results": [{"label": "positive"}, {"label": "negative"}, {"labels": ["a", "b"]}]}
    port = free_port()
    with (
        answering(200, one) as blue,
        answering(200, two) as green,
        comparing(("127.0.0.1", port), (blue, green)) as comparer,
    ):
        answer = httpx.post(f"http://127.0.0.1:{port}/classify", content=b"{}", timeout=LIMIT_SECONDS)
        assert answer.status_code == 204
        wait_for(lambda: comparer.counted == Mirrored(3, 1), "a comparison")


def test_without_an_answer_of_both_versions_nothing_is_compared() -> None:
    port = free_port()
    with (
        answering(200, {"results": [{"label": "positive"}]}) as blue,
        answering(500, {"error": {}}) as green,
        comparing(("127.0.0.1", port), (blue, green)) as comparer,
    ):
        for body in (b"{}", b"x" * (LONGEST + 1), b""):
            httpx.post(f"http://127.0.0.1:{port}/classify", content=body, timeout=LIMIT_SECONDS)
    assert comparer.counted == Mirrored()


def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = taken.getsockname()
        with pytest.raises(OperateError, match=f"{address[1]}: cannot listen"), comparing(address, ("", "")):
            pass
