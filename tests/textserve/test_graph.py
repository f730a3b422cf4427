from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from tests.conftest import DEFAULT_MODEL
from textserve import graph
from textserve.classifier import MODEL_FILE, Classifier
from textserve.graph import Graph

PATIENCE = 60.0  # seconds after which a test that waits for an event fails


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_an_answer_of_several_threads_is_that_of_one_to_the_last_bit() -> None:
    classifier = Classifier(DEFAULT_MODEL, threads=3)
    wait_until(classifier.can_spread)
    for length, count in ((1, 1), (30, 1), (110, 1), (7, 32), (40, 9)):
        batch = classifier.encode([f"{number} " + "nie polecam, what a mess " * length for number in range(count)])
        assert np.array_equal(classifier.logits(batch, spread=True), classifier.logits(batch))


def test_one_thread_loads_no_second_session() -> None:
    classifier = Classifier(DEFAULT_MODEL)
    loading = [thread for thread in threading.enumerate() if thread.name == "load"]
    assert not classifier.can_spread()
    assert [thread for thread in threading.enumerate() if thread.name == "load"] == loading


def test_runs_stay_on_one_thread_if_the_graph_cannot_be_loaded_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    opened: list[int] = []

    def once(file: Path, threads: int = 1) -> ort.InferenceSession:
        opened.append(threads)
        if threads > 1:
            raise MemoryError
        return session

    session = graph.open_session(DEFAULT_MODEL / MODEL_FILE)
    monkeypatch.setattr(graph, "open_session", once)
    tried = Graph(DEFAULT_MODEL / MODEL_FILE, threads=2)
    assert not tried.can_spread()
    wait_until(lambda: "cannot be loaded again" in caplog.text)
    assert not tried.can_spread()
    assert opened == [1, 2]
    feeds = {name: np.ones((1, 3), np.int64) for name in tried.inputs}
    assert tried.run("logits", feeds, spread=True).shape == (1, 3)
