from __future__ import annotations

import platform
import sys
import threading
from typing import Any

import numpy as np
import pytest

from tests.conftest import DEFAULT_MODEL
from textserve.classifier import MODEL_FILE, Classifier
from textserve.denormals import SUPPORTED, AsZero
from textserve.graph import Graph


def denormal() -> float:
    return float((np.full(8, 1e-39, np.float32) + np.float32(0)).max())


def test_only_linux_on_x86_64_is_supported() -> None:
    assert (sys.platform == "linux" and platform.machine() == "x86_64") == SUPPORTED


def test_within_the_block_they_are_zero_and_after_it_as_before() -> None:
    before = denormal()
    assert before > 0
    with AsZero():
        assert (denormal() == 0) == SUPPORTED
    assert denormal() == before


def test_they_are_as_before_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), AsZero():
        raise ZeroDivisionError
    assert denormal() > 0


def test_other_threads_keep_them() -> None:
    seen: list[float] = []
    inside, outside = threading.Event(), threading.Event()

    def compute() -> None:
        inside.wait()
        seen.append(denormal())
        outside.set()

    thread = threading.Thread(target=compute)
    thread.start()
    with AsZero():
        inside.set()
        outside.wait()
    thread.join()
    assert seen[0] > 0


def test_a_thread_that_loads_and_runs_a_model_keeps_them() -> None:
    classifier = Classifier(DEFAULT_MODEL)
    classifier.logits(classifier.encode(["short", "a text that is longer"]))
    assert denormal() > 0


def test_a_run_of_a_graph_counts_them_as_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    class Session:
        def run(self, outputs: list[str], feeds: Any) -> list[float]:
            return [denormal()]

    monkeypatch.setattr("textserve.graph.open_session", lambda file: Session())
    assert (Graph(DEFAULT_MODEL / MODEL_FILE).run("logits", {}) == 0) == SUPPORTED
