from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from tests.asgi import FakeRunner, described, fake_application
from tests.server import self_signed
from tests.specs import SPECS, predictions, some
from textserve.drift import Distance, Reference, Window
from textserve.explanation import explain
from textserve.keys import ApiKeys
from textserve.metrics import (
    ModelMetrics,
    PredictionMetrics,
    RequestMetrics,
    RunnerMetrics,
    WorkerMetrics,
    exposition,
)
from textserve.prediction import Prediction
from textserve.recording import LIMIT
from textserve.tls import Certificate
from textserve.worker import Worker


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_batch_counts_its_texts_tokens_and_padding() -> None:
    registry = CollectorRegistry()
    metrics = RunnerMetrics(registry)
    metrics.observe_batch([3, 5, 4], seconds=0.25, waited=[0.5, 0.25, 0.125])
    metrics.observe_batch([7], seconds=0.5, waited=[0.0])
    value = registry.get_sample_value
    assert value("textserve_texts_total") == 4
    assert value("textserve_tokens_total") == 19
    assert value("textserve_padding_tokens_total") == 3
    assert (value("textserve_batch_texts_count"), value("textserve_batch_texts_sum")) == (2, 4)
    assert (value("textserve_inference_seconds_count"), value("textserve_inference_seconds_sum")) == (2, 0.75)
    assert (value("textserve_queue_seconds_count"), value("textserve_queue_seconds_sum")) == (4, 0.875)


def test_requests_are_counted_by_protocol_and_outcome() -> None:
    registry = CollectorRegistry()
    metrics = RequestMetrics(registry)
    metrics.observe("native", "ok", 0.25)
    metrics.observe("native", "ok", 0.5)
    metrics.observe("native", "overloaded", 0.125)
    value = registry.get_sample_value
    assert value("textserve_requests_total", {"protocol": "native", "outcome": "ok"}) == 2
    assert value("textserve_requests_total", {"protocol": "native", "outcome": "overloaded"}) == 1
    assert value("textserve_request_seconds_sum", {"protocol": "native"}) == 0.875


def test_the_exposition_documents_every_metric_and_has_a_fixed_number_of_series() -> None:
    registry = CollectorRegistry()
    runner, requests = RunnerMetrics(registry), RequestMetrics(registry)
    requests.observe("native", "ok", 0.02)
    before = samples(exposition(registry).decode())
    for length in range(1, 100):
        runner.observe_batch([length] * length, length / 7, [float(length)] * length)
    runner.observe_batch([3, 5], 0.01, [0.002, 0.003])
    text = exposition(registry).decode()
    families = list(text_string_to_metric_families(text))
    assert [family.name for family in families if not family.documentation] == []
    assert [family.name for family in families if not family.name.startswith("textserve_")] == []
    assert samples(text)["textserve_padding_tokens_total", frozenset()] == 2
    assert {name for name, labels in samples(text) for name, value in labels} == {"protocol", "outcome", "le"}
    assert samples(text).keys() == before.keys()


def predicted(registry: CollectorRegistry) -> dict[str, float]:
    """Texts by label, without the labels that no text has."""
    found = samples(exposition(registry).decode())
    return {
        dict(labels)["label"]: value
        for (name, labels), value in found.items()
        if name == "textserve_predictions_total" and value
    }


def test_texts_are_counted_by_their_winning_label() -> None:
    registry = CollectorRegistry()
    metrics = PredictionMetrics(registry, SPECS["single"])
    metrics.count(predictions(SPECS["single"], [1, 0], [0, 1], [2, 0]))
    metrics.count(predictions(SPECS["single"], [0, 1]))
    assert predicted(registry) == {"ham": 2, "spam": 2}


def test_of_several_labels_each_over_its_threshold_is_counted() -> None:
    registry = CollectorRegistry()
    metrics = PredictionMetrics(registry, SPECS["several"])
    # The threshold of the second is 0.9, which is the sigmoid of 2.2.
    metrics.count(predictions(SPECS["several"], [1, 2, 1], [-1, 3, 1], [-1, -1, -1]))
    assert predicted(registry) == {"insult": 1, "threat": 1, "spam": 2}


def test_beyond_50_labels_the_others_share_a_series() -> None:
    registry, spec = CollectorRegistry(), SPECS["150 labels"]
    metrics = PredictionMetrics(registry, spec)
    before = samples(exposition(registry).decode()).keys()
    for index in range(150):
        metrics.count(predictions(spec, [float(index == label) for label in range(150)]))
    assert predicted(registry) == {f"intent {index}": 1 for index in range(50)} | {"other": 100}
    assert samples(exposition(registry).decode()).keys() == before


def test_without_a_scrape_the_predictions_of_few_texts_are_kept() -> None:
    class Counting:
        texts, distances = 0, cast(dict[str, Distance], {})

        def add(self, predictions: Sequence[Prediction]) -> None:
            self.texts += len(predictions)

    window, spec = Counting(), SPECS["single"]
    metrics = PredictionMetrics(CollectorRegistry(), spec, cast(Window, window))
    metrics.count(predictions(spec, [0, 1]))
    assert window.texts == 0
    metrics.count(predictions(spec, *[[0, 1]] * LIMIT))
    assert window.texts == LIMIT + 1


def test_a_number_has_no_label_to_count() -> None:
    registry = CollectorRegistry()
    PredictionMetrics(registry, SPECS["number"]).count(some(SPECS["number"]))
    assert not predicted(registry)
    assert registry.get_sample_value("textserve_winning_score_count") is None
    assert registry.get_sample_value("textserve_text_tokens_count") == 1


def test_scores_tokens_and_truncated_texts_are_counted() -> None:
    registry = CollectorRegistry()
    metrics = PredictionMetrics(registry, SPECS["single"])
    short, long = predictions(SPECS["single"], [0, 1])[0], predictions(SPECS["single"], [3, 0], tokens=64)[0]
    metrics.count([short, replace(long, truncated=True)])
    value = registry.get_sample_value
    assert value("textserve_truncated_texts_total") == 1
    assert (value("textserve_text_tokens_sum"), value("textserve_text_tokens_bucket", {"le": "4.0"})) == (67, 1)
    # The softmax of a difference of 1 is 0.73, of 3 is 0.95.
    assert value("textserve_winning_score_bucket", {"le": "0.8"}) == 1
    assert value("textserve_winning_score_bucket", {"le": "0.99"}) == 2


def test_busy_seconds_grow_only_while_a_thread_computes() -> None:
    registry, worker = CollectorRegistry(), Worker(0, lambda worker: None)
    WorkerMetrics(registry, [worker, Worker(1, lambda worker: None)])

    def busy() -> float:
        return registry.get_sample_value("textserve_worker_busy_seconds_total") or 0.0

    assert registry.get_sample_value("textserve_worker_threads") == 2
    worker.end()
    assert busy() == 0
    worker.begin(1)
    during = busy()
    assert 0 < during < busy()
    worker.end()
    assert during < busy() == busy()
    assert (worker.batches, worker.busy) == (2, False)


def test_the_model_has_its_name_version_and_digest() -> None:
    registry = CollectorRegistry()
    ModelMetrics(registry).served("sentiment:abc", "0123456789abcdef0123")
    labels = {"name": "sentiment", "version": "abc", "digest": "0123456789abcdef"}
    assert registry.get_sample_value("textserve_model_info", labels) == 1


def test_a_secret_is_unreadable_as_soon_as_its_file_is_wrong(tmp_path: Path) -> None:
    keys, (certificate, key) = tmp_path / "keys", self_signed(tmp_path)
    keys.write_text("a-key-of-16-characters")
    registry, held, pair = CollectorRegistry(), ApiKeys([], keys), Certificate(certificate, key)
    metrics = ModelMetrics(registry)
    metrics.secret("api_keys", held.readable)
    metrics.secret("certificate", pair.readable)

    def readable() -> dict[str, float | None]:
        return {
            file: registry.get_sample_value("textserve_secret_readable", {"file": file})
            for file in ("api_keys", "certificate")
        }

    assert readable() == {"api_keys": 1, "certificate": 1}
    keys.write_text("short")
    assert readable() == {"api_keys": 0, "certificate": 1}
    keys.unlink()
    key.write_text(certificate.read_text())
    assert readable() == {"api_keys": 0, "certificate": 0}


@pytest.mark.parametrize("explained", [False, True])
def test_the_application_counts_the_texts_that_were_asked_for(explained: bool) -> None:
    application = fake_application(described(SPECS["single"]), FakeRunner(some(SPECS["single"])), {})
    asyncio.run(explain(application, "a b c") if explained else application.classify(["a b c"]))
    assert predicted(application.metrics_registry) == {"spam": 1}


def test_drift_is_exposed_by_statistic_and_a_fault_of_it_costs_no_answer() -> None:
    registry = CollectorRegistry()
    groups = {"en": {"label": [90, 10]}}
    window = Window(Reference(bounds={}, unknown_id=None, frequent_ids=frozenset(), groups=groups), texts=100)
    metrics = PredictionMetrics(registry, SPECS["single"], window)
    value = registry.get_sample_value
    assert (value("textserve_drift_texts"), value("textserve_drift_psi", {"statistic": "label"})) == (0, None)
    served = [replace(answer, ids=[1, 2]) for answer in predictions(SPECS["single"], *[[0, 1]] * 30)]
    metrics.count(served)
    assert value("textserve_drift_texts") == 30
    assert (value("textserve_drift_psi", {"statistic": "label"}) or 0) > 1
    assert value("textserve_drift_p_value", {"statistic": "label"}) == pytest.approx(0, abs=1e-6)
    metrics.count(predictions(SPECS["single"], [0, 1]))  # without tokens, which no model reads
    assert predicted(registry) == {"spam": 31}


def test_a_large_request_is_not_the_whole_window() -> None:
    registry = CollectorRegistry()
    added: list[int] = []
    window = SimpleNamespace(add=lambda texts: added.append(len(texts)), texts=0, distances={})
    metrics = PredictionMetrics(registry, SPECS["single"], cast(Window, window))
    for texts in (1, 99, 100, 101, 1000):
        metrics.count(predictions(SPECS["single"], *[[0, 1]] * texts))
    assert added == [1, 99, 100, 51, 100]
