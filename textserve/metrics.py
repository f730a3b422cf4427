"""The service's own Prometheus metrics. Every label has a fixed set of values, so their number is bounded.

BentoML's built-in metrics are switched off in ``service.py``: they label by raw path, 404s included, without bound.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BATCH_TEXTS = (1, 2, 4, 8, 16, 32, 64)


class RunnerMetrics:
    """What the runner counts: texts, tokens, padding, batch sizes and where the time goes."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.waiting_tokens = Gauge(
            "textserve_waiting_tokens", "Tokens in the queue.", registry=registry, multiprocess_mode="livesum"
        )
        self._texts = Counter("textserve_texts_total", "Texts computed.", registry=registry)
        self._tokens = Counter("textserve_tokens_total", "Tokens computed, without padding.", registry=registry)
        self._dropped = Counter(
            "textserve_dropped_texts_total",
            "Texts accepted and not computed: the client had gone (cancelled), or their time was up (deadline).",
            ["reason"],
            registry=registry,
        )
        self._padding = Counter("textserve_padding_tokens_total", "Padding tokens computed.", registry=registry)
        self._batch_texts = Histogram("textserve_batch_texts", "Texts a batch.", registry=registry, buckets=BATCH_TEXTS)
        self._queue_seconds = Histogram(
            "textserve_queue_seconds",
            "From acceptance of a text to the start of its batch.",
            registry=registry,
            buckets=SECONDS,
        )
        self._inference_seconds = Histogram(
            "textserve_inference_seconds", "Computation of a batch.", registry=registry, buckets=SECONDS
        )

    def dropped(self, reason: Literal["cancelled", "deadline"], texts: int) -> None:
        """Count texts that were accepted and will not be computed."""
        self._dropped.labels(reason).inc(texts)

    def observe_batch(self, lengths: Sequence[int], seconds: float, waited: Sequence[float]) -> None:
        """Count one batch: tokens of each text, seconds of computation, seconds each text waited for it."""
        tokens = sum(lengths)
        self._texts.inc(len(lengths))
        self._tokens.inc(tokens)
        self._padding.inc(max(lengths) * len(lengths) - tokens)
        self._batch_texts.observe(len(lengths))
        self._inference_seconds.observe(seconds)
        for wait in waited:
            self._queue_seconds.observe(wait)


class RequestMetrics:
    """What every protocol counts: requests by protocol and outcome, and how long they took."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "textserve_requests_total",
            "Requests by protocol and outcome (ok, or the error's type).",
            ["protocol", "outcome"],
            registry=registry,
        )
        self._seconds = Histogram(
            "textserve_request_seconds",
            "From the body's arrival to the answer.",
            ["protocol"],
            registry=registry,
            buckets=SECONDS,
        )

    def observe(self, protocol: str, outcome: str, seconds: float) -> None:
        """Count one request; ``outcome`` is ``ok`` or the ``type`` of a :class:`textserve.errors.TextserveError`."""
        self._requests.labels(protocol, outcome).inc()
        self._seconds.labels(protocol).observe(seconds)


def exposition(registry: CollectorRegistry) -> bytes:
    """The metrics in Prometheus' text format; under ``bentoml serve`` those of all its worker processes together."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # the library's gap
    return generate_latest(registry)
