from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from tests.asgi import FakeRunner, described, fake_application
from tests.specs import SPECS, predictions, some
from textserve.explanation import explain
from textserve.metrics import PredictionMetrics, RequestMetrics, RunnerMetrics, exposition


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


def test_a_number_has_no_label_to_count() -> None:
    registry = CollectorRegistry()
    PredictionMetrics(registry, SPECS["number"]).count(some(SPECS["number"]))
    assert not samples(exposition(registry).decode())


@pytest.mark.parametrize("explained", [False, True])
def test_the_application_counts_the_texts_that_were_asked_for(explained: bool) -> None:
    application = fake_application(described(SPECS["single"]), FakeRunner(some(SPECS["single"])), {})
    asyncio.run(explain(application, "a b c") if explained else application.classify(["a b c"]))
    assert predicted(application.metrics_registry) == {"spam": 1}
