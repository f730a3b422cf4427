from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry, Counter

from textserve.flood import FloodLog
from textserve.recording import LIMIT, Recorded, recorded


class Counted(Recorded):
    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self._texts = Counter("texts", "Texts.", registry=registry)
        self.made: list[float] = []

    @recorded
    def count(self, texts: float, *, fails: bool = False) -> None:
        if fails:
            raise ZeroDivisionError
        self._texts.inc(texts)
        self.made.append(texts)


def test_an_update_is_made_before_a_scrape_reads_what_it_changes() -> None:
    registry = CollectorRegistry()
    metrics = Counted(registry)
    metrics.count(2)
    metrics.count(texts=3)
    assert metrics.made == []
    assert registry.get_sample_value("texts_total") == 5
    assert metrics.made == [2, 3]


def test_without_a_scrape_few_updates_are_kept() -> None:
    metrics = Counted(CollectorRegistry())
    for _ in range(LIMIT - 1):
        metrics.count(1)
    assert metrics.made == []
    metrics.count(1)
    assert len(metrics.made) == LIMIT


def test_an_update_that_fails_is_logged_and_keeps_no_other_back(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("textserve.recording.broken", FloodLog(logging.getLogger(), "%d failed"))
    registry = CollectorRegistry()
    metrics = Counted(registry)
    metrics.count(1, fails=True)
    metrics.count(1)
    with caplog.at_level(logging.WARNING):
        assert registry.get_sample_value("texts_total") == 1
    assert [record.getMessage() for record in caplog.records] == ["1 failed"]


def test_updates_of_several_threads_are_each_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    failed: list[None] = []
    monkeypatch.setattr("textserve.recording.broken", SimpleNamespace(add=lambda: failed.append(None)))
    registry = CollectorRegistry()
    metrics = Counted(registry)

    def count() -> None:
        for _ in range(1000):
            metrics.count(1)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        registry.get_sample_value("texts_total")
    assert registry.get_sample_value("texts_total") == 4000
    assert failed == []


def test_an_update_that_another_thread_makes_meanwhile_is_no_failure(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("textserve.recording.broken", FloodLog(logging.getLogger(), "%d failed"))
    metrics = Counted(CollectorRegistry())

    class Emptied(deque[Callable[[], None]]):
        """Has an update when asked, and none when it is taken."""

        def __bool__(self) -> bool:
            return True

    metrics._updates = Emptied()
    assert [*metrics.collect()] == []
    assert caplog.records == []
