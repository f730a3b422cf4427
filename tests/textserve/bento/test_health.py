from __future__ import annotations

import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server import free_port
from textserve.bento import health


class Handler(http.server.BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/readyz" else 404)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(params=[200, 503])
def service(request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    """A server whose ``/readyz`` answers with a status, and that status; it has no other path."""
    handler = type("WithStatus", (Handler,), {"status": request.param})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port, request.param
        server.shutdown()
        thread.join()


def exit_code(port: int, **variables: str) -> int:
    command = [sys.executable, "-IS", str(Path(health.__file__))]
    return subprocess.run(command, env={"PORT": str(port), **variables}, timeout=30).returncode


def test_it_succeeds_where_the_service_is_ready_and_fails_where_it_is_not(service: tuple[int, int]) -> None:
    port, status = service
    assert exit_code(port) == (0 if status == 200 else 1)


def test_it_fails_where_nothing_listens() -> None:
    assert exit_code(free_port()) == 1


def test_it_asks_over_tls_where_the_service_talks_tls(service: tuple[int, int]) -> None:
    assert exit_code(service[0], TEXTSERVE_TLS_CERTIFICATE="certificate.pem") == 1


def test_an_invalid_port_is_named() -> None:
    command = [sys.executable, "-IS", str(Path(health.__file__))]
    done = subprocess.run(command, env={"PORT": "http"}, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert done.stderr.strip() == "PORT: 'http' is not a port; set it to a number from 1 to 65535"


def test_the_port_is_that_of_the_container_then_that_of_vertex_ai(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PORT", "AIP_HTTP_PORT"):
        monkeypatch.delenv(name, raising=False)
    assert (health.set_port(), health.http_port()) == (None, 3000)
    monkeypatch.setenv("AIP_HTTP_PORT", "8081")
    assert health.http_port() == 8081
    monkeypatch.setenv("PORT", "9000")
    assert health.http_port() == 9000
