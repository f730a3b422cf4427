from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from textserve.application import Application
from textserve.classifier import Classifier, Truncation
from textserve.errors import EmptyInput, NotReady, ShuttingDown, TextserveError, TextTooLong, TooManyTexts
from textserve.metrics import RequestMetrics
from textserve.runner import Classified, Runner
from textserve.settings import Settings

AlteredModel = Callable[[dict[str, Any]], Path]

GOLDEN = [
    {"text": "I love this phone, it works perfectly.", "label": "positive"},
    {"text": "The worst service I have ever had.", "label": "negative"},
    {"text": "The meeting was moved to Thursday.", "label": "neutral"},
]


class FakeRunner:
    """Answers nothing, remembers what it was asked, and says on closing whether it was in time."""

    def __init__(self, *, in_time: bool = True) -> None:
        self.asked: list[list[str]] = []
        self.in_time = in_time

    async def classify(
        self, texts: Sequence[str], seconds: float, truncation: Truncation | None = "right"
    ) -> Classified:
        self.asked.append(list(texts))
        return Classified([], 0.0, 0.0, 0.0)

    async def close(self, seconds: float) -> bool:
        return self.in_time


def application(classifier: Classifier, runner: FakeRunner, *, ready: bool = True) -> Application:
    registry = CollectorRegistry()
    settings = Settings(max_texts=3, max_characters=10)
    return Application(
        "tiny:1", settings, classifier, cast(Runner, runner), registry, RequestMetrics(registry), ready=ready
    )


@pytest.mark.parametrize(
    ("texts", "error", "where"),
    [
        pytest.param([], EmptyInput, "texts", id="no text"),
        pytest.param(["a", "b", "c", "d"], TooManyTexts, "texts", id="too many texts"),
        pytest.param(["a", "b" * 11], TextTooLong, "texts[1]", id="too long a text"),
        pytest.param(["a", "b", ""], EmptyInput, "texts[2]", id="an empty text"),
        pytest.param([" \t\n\u00a0\u2003", "a"], EmptyInput, "texts[0]", id="only white space"),
        pytest.param([" " * 11], TextTooLong, "texts[0]", id="too much white space"),
    ],
)
def test_a_request_beyond_the_limits_is_refused_where_it_is_wrong_and_not_computed(
    classifier: Classifier, texts: list[str], error: type[TextserveError], where: str
) -> None:
    runner = FakeRunner()
    with pytest.raises(error) as refusal:
        asyncio.run(application(classifier, runner).classify(texts))
    assert refusal.value.where == where
    assert runner.asked == []


def test_a_request_at_the_limits_is_computed(classifier: Classifier) -> None:
    runner = FakeRunner()
    texts = ["b" * 10, "ż" * 10, "😍" * 10]
    asyncio.run(application(classifier, runner).classify(texts))
    assert runner.asked == [texts]


@pytest.mark.parametrize("texts", [["private words"], ["short", "private words"]])
def test_a_refusal_does_not_quote_the_text(classifier: Classifier, texts: list[str]) -> None:
    with pytest.raises(TextTooLong) as refusal:
        asyncio.run(application(classifier, FakeRunner()).classify(texts))
    assert "private" not in refusal.value.message


def test_an_application_that_is_not_ready_refuses_and_computes_nothing(classifier: Classifier) -> None:
    runner = FakeRunner()
    with pytest.raises(NotReady):
        asyncio.run(application(classifier, runner, ready=False).classify(["a"]))
    assert runner.asked == []


def test_a_model_that_answers_a_golden_text_otherwise_is_not_ready_and_the_log_says_which(
    altered_model: AlteredModel, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = {"text": "What a wonderful evening, thank you all!", "label": "negative"}
    loaded = Application.load(altered_model({"golden": [*GOLDEN, wrong]}), "tiny:1", Settings(threads=1))
    assert not loaded.ready
    assert "golden[3] is positive, expected negative" in caplog.text
    with pytest.raises(NotReady):
        asyncio.run(loaded.classify(["a"]))


def test_a_loaded_application_answers_until_it_is_closed(altered_model: AlteredModel) -> None:
    loaded = Application.load(altered_model({"golden": GOLDEN}), "tiny:1", Settings(threads=1))
    assert loaded.ready

    async def run() -> Classified:
        loaded.start()
        answer = await loaded.classify([text["text"] for text in GOLDEN])
        await loaded.close()
        with pytest.raises(ShuttingDown):
            await loaded.classify(["a"])
        return answer

    probabilities = [prediction.probabilities for prediction in asyncio.run(run()).predictions]
    labels = [loaded.meanings[row.index(max(row))] for row in probabilities]
    assert labels == [text["label"] for text in GOLDEN]
    assert loaded.registry.get_sample_value("textserve_texts_total") == 3


@pytest.mark.parametrize("in_time", [True, False])
def test_unanswered_requests_are_logged_as_an_error_on_closing(
    classifier: Classifier, caplog: pytest.LogCaptureFixture, in_time: bool
) -> None:
    asyncio.run(application(classifier, FakeRunner(in_time=in_time)).close())
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert bool(errors) == (not in_time)
