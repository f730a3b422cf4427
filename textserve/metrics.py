"""The service's own Prometheus metrics. Every label has a fixed set of values, so the number of series is bounded.

BentoML's built-in metrics are disabled in ``service.py``: they label by raw path, 404s included, without bound.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from textserve.drift import MAX_LABELS, Window
from textserve.prediction import Prediction
from textserve.recording import LIMIT, Recorded, recorded
from textserve.spec import ModelSpec
from textserve.worker import Worker

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BATCH_TEXTS = (1, 2, 4, 8, 16, 32, 64)
SCORES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
TOKENS = (4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
DIGEST_DIGITS = 16
# Maximum texts of one request that are measured for drift.
REQUEST_TEXTS = 100
# The labels beyond MAX_LABELS share one series.
OTHER_LABELS = "other"


class RunnerMetrics(Recorded):
    """The runner's metrics: texts, tokens, padding, batch sizes and durations."""

    def __init__(self, metrics_registry: CollectorRegistry) -> None:
        super().__init__(metrics_registry)
        self._waiting_tokens = Gauge("textserve_waiting_tokens", "Tokens in the queue.", registry=metrics_registry)
        self._texts = Counter("textserve_texts_total", "Texts computed.", registry=metrics_registry)
        self._tokens = Counter("textserve_tokens_total", "Tokens computed, without padding.", registry=metrics_registry)
        self._dropped = Counter(
            "textserve_dropped_texts_total",
            "Texts accepted but not computed: the client disconnected (cancelled) or timed out (deadline).",
            ["reason"],
            registry=metrics_registry,
        )
        self._failed = Counter(
            "textserve_failed_batches_total",
            "Batches that failed (exception), or whose answer is not finite for some of their texts (not_finite).",
            ["reason"],
            registry=metrics_registry,
        )
        self._repeated = Counter(
            "textserve_repeated_texts_total",
            "Texts answered with the result of an equal text: of the same batch (batch), or computed before (cache).",
            ["answered_by"],
            registry=metrics_registry,
        )
        self._cache_bytes = Gauge("textserve_cache_bytes", "Size of the cache of answers.", registry=metrics_registry)
        self._padding = Counter("textserve_padding_tokens_total", "Padding tokens computed.", registry=metrics_registry)
        self._batch_texts = Histogram(
            "textserve_batch_texts", "Texts per batch.", registry=metrics_registry, buckets=BATCH_TEXTS
        )
        self._queue_seconds = Histogram(
            "textserve_queue_seconds",
            "Time from acceptance of a text to the start of its batch.",
            registry=metrics_registry,
            buckets=SECONDS,
        )
        self._inference_seconds = Histogram(
            "textserve_inference_seconds", "Computation time of a batch.", registry=metrics_registry, buckets=SECONDS
        )

    @recorded
    def dropped(self, reason: Literal["cancelled", "deadline"], texts: int) -> None:
        """Count accepted texts that will not be computed."""
        self._dropped.labels(reason).inc(texts)

    @recorded
    def failed(self, reason: Literal["exception", "not_finite"]) -> None:
        """Count a failed batch."""
        self._failed.labels(reason).inc()

    @recorded
    def cached(self, texts: int) -> None:
        """Count texts that were answered from the cache."""
        self._repeated.labels("cache").inc(texts)

    def watch(self, waiting_tokens: Callable[[], float], cache_bytes: Callable[[], float]) -> None:
        """Call these at every scrape."""
        self._waiting_tokens.set_function(waiting_tokens)
        self._cache_bytes.set_function(cache_bytes)

    @recorded
    def observe_batch(self, lengths: Sequence[int], seconds: float, waited: Sequence[float]) -> None:
        """Count a batch: tokens of each text computed, seconds of computation, seconds that each text waited.

        More texts waited than are computed if some are equal.
        """
        tokens = sum(lengths)
        self._texts.inc(len(lengths))
        self._tokens.inc(tokens)
        self._padding.inc(max(lengths) * len(lengths) - tokens)
        self._batch_texts.observe(len(lengths))
        self._inference_seconds.observe(seconds)
        for wait in waited:
            self._queue_seconds.observe(wait)
        if len(waited) > len(lengths):
            self._repeated.labels("batch").inc(len(waited) - len(lengths))


class RequestMetrics(Recorded):
    """The protocols' metrics: requests by protocol and outcome, and their duration.

    Attributes:
        in_flight: POST requests and inferences that have arrived and are being answered.
    """

    def __init__(self, metrics_registry: CollectorRegistry) -> None:
        super().__init__(metrics_registry)
        requests = Counter(
            "textserve_requests_total",
            "Requests by protocol and outcome (ok, cancelled, or the error's type).",
            ["protocol", "outcome"],
            registry=metrics_registry,
        )
        seconds = Histogram(
            "textserve_request_seconds",
            "Time from receiving the body to the response.",
            ["protocol"],
            registry=metrics_registry,
            buckets=SECONDS,
        )
        # The series are few, and looking one up takes a lock and longer than counting.
        self._outcome, self._seconds = functools.cache(requests.labels), functools.cache(seconds.labels)
        self.in_flight = 0
        Gauge(
            "textserve_requests_in_flight",
            "POST requests and inferences that have arrived and are being answered.",
            registry=metrics_registry,
        ).set_function(lambda: self.in_flight)

    @recorded
    def observe(self, protocol: str, outcome: str, seconds: float) -> None:
        """Count a request; ``outcome`` is ``ok``, ``cancelled`` or the ``type`` of a ``TextserveError``.

        ``seconds`` are 0 if the request was rejected before its body had arrived.
        """
        self._outcome(protocol, outcome).inc()
        self._seconds(protocol).observe(seconds)


class PredictionMetrics(Recorded):
    """What the model reads and answers. Labels are counted except for regression, scores only if probabilities."""

    def __init__(self, metrics_registry: CollectorRegistry, spec: ModelSpec, window: Window | None = None) -> None:
        super().__init__(metrics_registry)
        self._kept = 0
        self._window = window
        if window:
            DriftMetrics(metrics_registry, window)
        counter = Counter(
            "textserve_predictions_total",
            "Texts by label: the winning label, or for multi-label models each label that reaches its threshold.",
            ["label"],
            registry=metrics_registry,
        )
        labels = [] if spec.problem_type == "regression" else spec.label_names
        # Each series exists before its first text, and is found without a lock.
        self._series = {
            label: counter.labels(label if index < MAX_LABELS else OTHER_LABELS) for index, label in enumerate(labels)
        }
        self._score = (
            None
            if spec.activation == "none"
            else Histogram(
                "textserve_winning_score",
                "Highest score of a text, where scores are probabilities.",
                registry=metrics_registry,
                buckets=SCORES,
            )
        )
        self._tokens = Histogram(
            "textserve_text_tokens", "Tokens that the model reads of a text.", registry=metrics_registry, buckets=TOKENS
        )
        self._truncated = Counter(
            "textserve_truncated_texts_total", "Texts with more tokens than the model reads.", registry=metrics_registry
        )

    def count(self, predictions: Sequence[Prediction]) -> None:
        """Count the answers of a request, at least one."""
        self._count(predictions)
        # A prediction has the tokens of its text, so few are kept.
        self._kept += len(predictions)
        if self._kept >= LIMIT:
            self._kept = 0
            self.collect()

    @recorded
    def _count(self, predictions: Sequence[Prediction]) -> None:
        self._truncated.inc(sum(prediction.truncated for prediction in predictions))
        for prediction in predictions:
            self._tokens.observe(prediction.tokens)
            if self._score:
                self._score.observe(prediction.score)
        if self._series:
            self._count_labels(predictions)
        if self._window:
            # Of a large request, texts at even intervals: all would take long to measure and fill the window alone.
            self._window.add(predictions[:: -(-len(predictions) // REQUEST_TEXTS)])

    def _count_labels(self, predictions: Sequence[Prediction]) -> None:
        several = predictions[0].spec.problem_type == "multi_label_classification"
        found: dict[str, int] = {}
        for prediction in predictions:
            for label in prediction.labels if several else (prediction.label,):
                found[label] = found.get(label, 0) + 1
        for label, texts in found.items():
            self._series[label].inc(texts)


class DriftMetrics:
    """How far the served texts are from the model's reference, read at every scrape."""

    def __init__(self, metrics_registry: CollectorRegistry, window: Window) -> None:
        self._window = window
        metrics_registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """The metrics now; called by prometheus_client."""
        yield GaugeMetricFamily(
            "textserve_drift_texts", "Texts on which the distance from the reference is measured.", self._window.texts
        )
        index = GaugeMetricFamily(
            "textserve_drift_psi",
            "Population stability index of the served texts against the reference.",
            labels=["statistic"],
        )
        p_value = GaugeMetricFamily(
            "textserve_drift_p_value",
            "P-value that the served texts are like the reference, times the number of tests in a window.",
            labels=["statistic"],
        )
        for statistic, distance in self._window.distances.items():
            index.add_metric([statistic], distance.psi)
            p_value.add_metric([statistic], distance.p_value)
        yield from (index, p_value)


class WorkerMetrics:
    """The runner's worker threads, read at every scrape."""

    def __init__(self, metrics_registry: CollectorRegistry, workers: Sequence[Worker]) -> None:
        self._workers = workers
        metrics_registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """The metrics now; called by prometheus_client."""
        yield GaugeMetricFamily("textserve_worker_threads", "Threads that compute batches.", len(self._workers))
        yield CounterMetricFamily(
            "textserve_worker_busy_seconds_total",
            "Seconds of computation, summed over the worker threads.",
            sum(worker.busy_seconds for worker in self._workers),
        )


class ModelMetrics:
    """Which model is served, and whether the files with secrets can be read."""

    def __init__(self, metrics_registry: CollectorRegistry) -> None:
        self._info = Gauge(
            "textserve_model_info",
            "1, for the served model: its name, its version, and the start of the SHA-256 of its ONNX file.",
            ["name", "version", "digest"],
            registry=metrics_registry,
        )
        self._readable = Gauge(
            "textserve_secret_readable",
            "1 if a file with secrets is valid; 0 if not, and what was read before stays in use. file is api_keys, or "
            "certificate, with its key; a file that is not set has no series.",
            ["file"],
            registry=metrics_registry,
        )

    def served(self, tag: str, sha256: str) -> None:
        """Name the model ``NAME:VERSION``, and the SHA-256 of its ONNX file."""
        name, _, version = tag.partition(":")
        self._info.labels(name, version, sha256[:DIGEST_DIGITS]).set(1)

    def secret(self, file: Literal["api_keys", "certificate"], readable: Callable[[], bool]) -> None:
        """Call ``readable`` at every scrape."""
        self._readable.labels(file).set_function(readable)


class ConnectionMetrics(Recorded):
    """HTTP's connections."""

    def __init__(self, metrics_registry: CollectorRegistry) -> None:
        super().__init__(metrics_registry)
        self._open = Gauge("textserve_connections", "Open HTTP connections.", registry=metrics_registry)
        self._refused = Counter(
            "textserve_refused_connections_total",
            "HTTP connections refused, since too many were open and none idle.",
            registry=metrics_registry,
        )

    @recorded
    def open(self, connections: int) -> None:
        """Set the number of open connections."""
        self._open.set(connections)

    @recorded
    def refused(self) -> None:
        """Count a refused connection."""
        self._refused.inc()


class HealthMetrics:
    """Whether the service is able to answer."""

    def __init__(self, metrics_registry: CollectorRegistry) -> None:
        self._ready = Gauge("textserve_ready", "1 if the service is ready, else 0.", registry=metrics_registry)

    def ready(self, ready: Callable[[], bool]) -> None:
        """Call ``ready`` at every scrape."""
        self._ready.set_function(ready)


def exposition(metrics_registry: CollectorRegistry) -> bytes:
    """The metrics in Prometheus' text format."""
    return generate_latest(metrics_registry)
