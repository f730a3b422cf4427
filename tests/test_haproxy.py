"""deploy/haproxy.cfg in front of the real service, run by the real HAProxy."""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import pytest

from tests.grpc_client import SERVICE, request
from tests.server import LIMIT_SECONDS, ROOT, Server, free_port, serve
from textserve.grpc.inference_pb2 import ModelInferResponse

CONFIGURATION = ROOT / "deploy" / "haproxy.cfg"
ONE_TEXT = {"texts": ["Świetnie!"]}
SLOW = b"POST /classify HTTP/1.1\r\nHost: x\r\n"


@dataclass(frozen=True)
class Proxy:
    """A running HAProxy: its ports, and its log file."""

    http: int
    grpc: int
    log_file: Path


@contextlib.contextmanager
def proxied(server: Server, folder: Path, changes: dict[str, str]) -> Iterator[Proxy]:
    """HAProxy in front of ``server`` until the block ends, with ``changes`` of the configuration's text."""
    content = CONFIGURATION.read_text(encoding="utf-8")
    for before, after in changes.items():
        assert content.count(before) >= 1
        content = content.replace(before, after)
    file = folder / "haproxy.cfg"
    file.write_text(content, encoding="utf-8")
    proxy = Proxy(free_port(), free_port(), folder / "haproxy.log")
    variables = {
        "HTTP_BIND": f":{proxy.http}",
        "GRPC_BIND": f":{proxy.grpc}",
        "HTTP_SERVER": f"127.0.0.1:{server.port}",
        "GRPC_SERVER": f"127.0.0.1:{server.grpc_port}",
    }
    with proxy.log_file.open("wb") as log:
        command = ["haproxy", "-db", "-f", str(file)]
        process = subprocess.Popen(command, env={**os.environ, **variables}, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_status(proxy, 200, process)
        yield proxy
    finally:
        process.terminate()
        process.wait(LIMIT_SECONDS)


def wait_status(proxy: Proxy, status: int, process: subprocess.Popen[bytes] | None = None) -> None:
    """Wait until /readyz is answered with ``status``."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < deadline:
        assert process is None or process.poll() is None, proxy.log_file.read_text(encoding="utf-8")
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"http://127.0.0.1:{proxy.http}/readyz", timeout=10).status_code == status:
                return
        time.sleep(0.05)
    raise AssertionError(f"/readyz did not answer {status}")


@pytest.fixture(scope="module")
def proxy(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with proxied(server, tmp_path_factory.mktemp("haproxy"), {"http-request 20s": "http-request 300ms"}) as running:
        yield running


@pytest.mark.parametrize(("changes", "valid"), [({}, True), ({"balance leastconn": "balance leestcon"}, False)])
def test_haproxy_accepts_the_file_as_it_is(tmp_path: Path, changes: dict[str, str], valid: bool) -> None:
    content = CONFIGURATION.read_text(encoding="utf-8")
    for before, after in changes.items():
        content = content.replace(before, after)
    file = tmp_path / "haproxy.cfg"
    file.write_text(content, encoding="utf-8")
    # Without a variable too: the defaults are the ports of the service.
    done = subprocess.run(["haproxy", "-c", "-f", str(file)], capture_output=True, text=True, timeout=60)
    assert (done.returncode == 0) is valid, done.stderr
    assert "warning" not in done.stderr.lower()


def test_the_addresses_for_tls_in_its_comment_are_accepted_too(tmp_path: Path) -> None:
    content = CONFIGURATION.read_text(encoding="utf-8")
    lines = re.findall(r"^#   (bind .+)$", content, flags=re.MULTILINE)
    assert len(lines) == 2
    pair = tmp_path / "textserve.pem"
    subject = ["-days", "2", "-subj", "/CN=localhost"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject, "-out", str(pair), "-keyout", "-"]
    key = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    pair.write_text(pair.read_text(encoding="utf-8") + key, encoding="utf-8")
    for line in lines:
        plain = re.search(rf'^ +bind "{re.escape(line.split(chr(34))[1])}".*$', content, flags=re.MULTILINE)
        assert plain is not None
        content = content.replace(plain[0], f"    {line.replace('/etc/haproxy/textserve.pem', str(pair))}")
    file = tmp_path / "haproxy.cfg"
    file.write_text(content, encoding="utf-8")
    done = subprocess.run(["haproxy", "-c", "-f", str(file)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_http_and_grpc_reach_the_service_and_metrics_do_not(proxy: Proxy) -> None:
    url = f"http://127.0.0.1:{proxy.http}"
    assert httpx.post(f"{url}/classify", json=ONE_TEXT).json()["results"][0]["label"] == "positive"
    # Larger than HAProxy's buffer.
    many = {"texts": ["Bardzo dobry film, polecam! " * 20] * 100}
    assert len(httpx.post(f"{url}/classify", json=many, timeout=LIMIT_SECONDS).json()["results"]) == 100
    assert httpx.get(f"{url}/metrics").status_code == 403
    with grpc.insecure_channel(f"127.0.0.1:{proxy.grpc}") as channel:
        infer = channel.unary_unary(f"{SERVICE}ModelInfer")
        answer = ModelInferResponse.FromString(infer(request(["Świetnie!"]).SerializeToString(), timeout=LIMIT_SECONDS))
    assert answer.model_name == "sentiment-pl-en"


def test_one_address_has_at_most_50_connections_and_another_one_is_served(server: Server, tmp_path: Path) -> None:
    with proxied(server, tmp_path, {}) as proxy, contextlib.ExitStack() as held:
        clients = set()
        for _ in range(60):
            with contextlib.suppress(ConnectionResetError):
                clients.add(held.enter_context(socket.create_connection(("127.0.0.1", proxy.http), LIMIT_SECONDS)))
        closed: set[socket.socket] = set()
        while len(clients) > 50 + len(closed):
            readable, _, _ = select.select(clients - closed, [], [], LIMIT_SECONDS)
            assert readable, f"{len(clients) - len(closed)} connections are open"
            closed.update(readable)
        # The connection that waited for HAProxy to start may still count as one of the 50.
        assert len(clients) - len(closed) >= 49
        assert {received(client) for client in closed} <= {b""}
        transport = httpx.HTTPTransport(local_address="127.0.0.2")
        with httpx.Client(transport=transport) as other:
            answer = other.post(f"http://127.0.0.1:{proxy.http}/classify", json=ONE_TEXT, timeout=LIMIT_SECONDS)
        assert answer.status_code == 200


def received(client: socket.socket) -> bytes:
    """What the proxy sent on a connection before it closed it."""
    try:
        return client.recv(100)
    except ConnectionResetError:
        return b""


def test_headers_that_never_end_are_answered_by_the_proxy(proxy: Proxy) -> None:
    with socket.create_connection(("127.0.0.1", proxy.http), timeout=LIMIT_SECONDS) as client:
        client.sendall(SLOW)
        assert client.recv(100).startswith(b"HTTP/1.1 408 ")


def test_its_log_has_neither_urls_nor_headers(proxy: Proxy) -> None:
    headers = {"authorization": "Bearer my-secret-key"}
    httpx.get(f"http://127.0.0.1:{proxy.http}/info?text=my-secret-text", headers=headers)
    with socket.create_connection(("127.0.0.1", proxy.http), timeout=LIMIT_SECONDS) as client:
        client.sendall(b"GET /my-secret-path \x00 HTTP/1.1\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 400 ")
    log = proxy.log_file.read_text(encoding="utf-8")
    assert " 400 " in log
    assert "my-secret" not in log


def test_a_stopping_service_gets_no_more_requests(store: Path, tmp_path: Path) -> None:
    with serve(store) as stopping, proxied(stopping, tmp_path, {}) as running:
        stopping.stop()
        wait_status(running, 503)
