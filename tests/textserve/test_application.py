from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.asgi import ANSWER, FakeRunner, described, fake_application
from tests.server import self_signed
from tests.specs import spec
from textserve.application import Application
from textserve.bento.connection import open_connections
from textserve.classifier import Classifier
from textserve.errors import EmptyInput, NotReady, ShuttingDown, TextserveError, TextTooLong, TooManyTexts
from textserve.prediction import Classified
from textserve.settings import Settings

AlteredModel = Callable[[dict[str, Any]], Path]

GOLDEN = [
    {"text": "I love this phone, it works perfectly.", "label": "positive"},
    {"text": "The worst service I have ever had.", "label": "negative"},
    {"text": "The meeting was moved to Thursday.", "label": "neutral"},
]


def application(classifier: Classifier, *, ready: bool = True) -> tuple[Application, FakeRunner]:
    runner = FakeRunner(ANSWER)
    served = fake_application(classifier, runner, {"max_texts": 3, "max_characters": 10})
    return dataclasses.replace(served, ready=ready), runner


@pytest.mark.parametrize(
    ("texts", "error", "where"),
    [
        pytest.param([], EmptyInput, "texts", id="no text"),
        pytest.param(["private"] * 4, TooManyTexts, "texts", id="too many texts"),
        pytest.param(["a", "private words"], TextTooLong, "texts[1]", id="too long a text"),
        pytest.param(["a", "b", ""], EmptyInput, "texts[2]", id="an empty text"),
        pytest.param([" \t\n\u00a0\u2003", "a"], EmptyInput, "texts[0]", id="only white space"),
        pytest.param([" " * 11], TextTooLong, "texts[0]", id="too much white space"),
    ],
)
def test_a_request_beyond_the_limits_is_rejected_by_index_without_quoting_it_or_computing(
    classifier: Classifier, texts: list[str], error: type[TextserveError], where: str
) -> None:
    served, runner = application(classifier)
    with pytest.raises(error) as caught:
        asyncio.run(served.classify(texts))
    assert caught.value.where == where
    assert "private" not in caught.value.message
    assert runner.asked == []


def test_a_request_at_the_limits_is_computed(classifier: Classifier) -> None:
    served, runner = application(classifier)
    texts = ["b" * 10, "ż" * 10, "😍" * 10]
    asyncio.run(served.classify(texts))
    assert runner.asked == [texts]


def test_an_unready_application_computes_nothing(classifier: Classifier) -> None:
    served, runner = application(classifier, ready=False)
    with pytest.raises(NotReady):
        asyncio.run(served.classify(["a"]))
    assert runner.asked == []


def test_a_model_that_fails_a_golden_text_is_not_ready_and_the_log_has_its_index(
    altered_model: AlteredModel, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = {"text": "What a wonderful evening, thank you all!", "label": "negative"}
    loaded = Application.load(altered_model({"golden": [*GOLDEN, wrong]}), "tiny:1", Settings(threads=1))
    assert not loaded.ready
    assert loaded.metrics_registry.get_sample_value("textserve_ready") == 0
    assert "golden[3] is positive, expected negative" in caplog.text
    with pytest.raises(NotReady):
        asyncio.run(loaded.classify(["a"]))


def test_a_loaded_application_answers_until_it_is_closed(altered_model: AlteredModel) -> None:
    loaded = Application.load(altered_model({"golden": GOLDEN}), "tiny:1", Settings(threads=1))
    assert loaded.ready

    async def run() -> Classified:
        loaded.start(end=pytest.fail)
        classified = await loaded.classify([text["text"] for text in GOLDEN])
        await loaded.close()
        with pytest.raises(ShuttingDown):
            await loaded.classify(["a"])
        return classified

    assert [prediction.label for prediction in asyncio.run(run()).predictions] == [text["label"] for text in GOLDEN]
    assert loaded.metrics_registry.get_sample_value("textserve_texts_total") == 3


@pytest.mark.parametrize("in_time", [True, False])
def test_unanswered_requests_are_logged_as_an_error_on_closing(
    classifier: Classifier, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, in_time: bool
) -> None:
    async def close(runner: FakeRunner, seconds: float) -> bool:
        return in_time

    monkeypatch.setattr(FakeRunner, "close", close, raising=False)
    asyncio.run(application(classifier)[0].close())
    assert ("requests unanswered" in caplog.text) == (not in_time)


@pytest.mark.parametrize(("labels", "most"), [(3, 1000), (50, 1000), (150, 333), (1000, 50)])
def test_a_response_has_a_limited_number_of_scores(labels: int, most: int) -> None:
    served = spec([str(index) for index in range(labels)], "0", "1")
    application = fake_application(described(served), FakeRunner([]), {})
    assert application.max_texts == most
    with pytest.raises(TooManyTexts, match=f"send at most {most} in one request"):
        asyncio.run(application.classify(["a"] * (most + 1)))


def test_a_certificate_that_is_replaced_before_the_first_connection_is_noticed(
    altered_model: AlteredModel, tmp_path: Path
) -> None:
    certificate, key = self_signed(tmp_path)
    settings = Settings(threads=1, tls_certificate=certificate, tls_key=key)
    loaded = Application.load(altered_model({"golden": GOLDEN}), "tiny:1", settings)
    self_signed(tmp_path)
    watched = open_connections(loaded).certificate
    assert watched is not None
    assert watched.renewed()
    assert not watched.renewed()
