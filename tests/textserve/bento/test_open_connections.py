from __future__ import annotations

import asyncio

import pytest
import uvicorn
from prometheus_client import CollectorRegistry
from uvicorn.server import ServerState

from tests.asgi import ANSWER, FakeRunner, fake_application
from textserve.bento.connection import Connection as RealConnection
from textserve.bento.open_connections import ANSWERED, OpenConnections
from textserve.classifier import Classifier
from textserve.metrics import ConnectionMetrics

PATIENCE = 60.0


class Connection:
    """A connection, which may be idle."""

    def __init__(self, idle_since: float | None) -> None:
        self.idle_since = idle_since
        self.closed = False

    def close_idle(self) -> None:
        self.closed = True


def test_the_connection_that_is_idle_longest_gives_way_to_a_new_one() -> None:
    registry = CollectorRegistry()
    limited = OpenConnections(3, ConnectionMetrics(registry))
    busy, idle, older = Connection(None), Connection(2.0), Connection(1.0)
    assert all(limited.add(connection, 2.0) for connection in (busy, idle, older))
    assert limited.add(Connection(None), 3.0)
    assert (busy.closed, idle.closed, older.closed) == (False, False, True)
    assert registry.get_sample_value("textserve_connections") == 3


def test_a_connection_whose_request_may_be_on_its_way_does_not_give_way() -> None:
    limited = OpenConnections(1, ConnectionMetrics(CollectorRegistry()))
    first = Connection(1.0)
    assert limited.add(first, 1.0)
    assert not limited.add(Connection(None), 1.0)
    assert not first.closed


def test_if_no_connection_is_idle_a_new_one_is_refused_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    registry = CollectorRegistry()
    limited = OpenConnections(2, ConnectionMetrics(registry))
    first, new = Connection(None), Connection(None)
    assert limited.add(first, 0.0)
    assert limited.add(Connection(None), 0.0)
    assert not limited.add(new, 0.0)
    assert not limited.crowded
    assert registry.get_sample_value("textserve_refused_connections_total") == 1
    assert "1 connections refused: 2 are open" in caplog.text
    assert not any(limited.add(Connection(None), 0.0) for _ in range(ANSWERED))
    assert limited.crowded
    for connection in (first, new):
        limited.remove(connection)
    assert not limited.crowded


def test_a_refused_connection_learns_when_to_retry(classifier: Classifier) -> None:
    application = fake_application(classifier, FakeRunner(ANSWER), {})
    none_more = OpenConnections(0, ConnectionMetrics(CollectorRegistry()))

    async def app(scope: object, receive: object, send: object) -> None:
        raise AssertionError("no request is handled")

    async def head() -> list[bytes]:
        config = uvicorn.Config(app, log_config=None)
        config.load()
        state = {"config": config, "server_state": ServerState(), "app_state": {}}
        server = await asyncio.get_running_loop().create_server(
            lambda: RealConnection(lambda: application, lambda: none_more, None, **state), "127.0.0.1", 0
        )
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            try:
                return (await reader.readuntil(b"\r\n\r\n")).lower().splitlines()
            finally:
                writer.close()

    status, *headers = asyncio.run(asyncio.wait_for(head(), PATIENCE))
    assert status.startswith(b"http/1.1 429")
    assert b"retry-after: 1" in headers
    assert any(header.startswith(b"x-request-id: ") for header in headers)
