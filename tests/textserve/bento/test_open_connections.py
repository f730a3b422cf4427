from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from textserve.bento.open_connections import ANSWERED, OpenConnections
from textserve.metrics import ConnectionMetrics


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


def test_one_whose_request_may_be_on_its_way_does_not_give_way() -> None:
    limited = OpenConnections(1, ConnectionMetrics(CollectorRegistry()))
    first = Connection(1.0)
    assert limited.add(first, 1.0)
    assert not limited.add(Connection(None), 1.0)
    assert not first.closed


def test_if_none_is_idle_a_new_one_is_refused_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
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
