"""OpenTelemetry spans, where a collector for them is configured: who sends them, and what a span says of computing.

The environment variables are OpenTelemetry's own, https://opentelemetry.io/docs/languages/sdk-configuration/. Without
an endpoint nothing of the SDK is imported, and a request meets nothing of this module. Spans of the protocols are made
in :mod:`textserve.http.spans`. No attribute holds anything that a caller wrote.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind

from textserve import __version__
from textserve.classifier import Classifier, Truncation
from textserve.metrics import RunnerMetrics
from textserve.runner import Classified, Runner
from textserve.settings import Settings

logger = logging.getLogger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
SERVICE_NAME = "textserve"
# What the end waits for the last spans to be sent; whoever collects them may be away.
LAST_SECONDS = 2.0
NANOSECONDS = 1_000_000_000


def is_configured() -> bool:
    """Whether the environment names a collector, and does not switch spans off."""
    return (
        any(os.environ.get(name) for name in ENDPOINTS)
        and os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() != "true"
        and os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() != "none"
    )


class Tracing:
    """Sends spans over OTLP/HTTP, from a thread of its own. :meth:`close` it, so that the last are sent.

    Attributes:
        tracer: makes the spans.
    """

    def __init__(self, tag: str) -> None:
        """Start sending; ``tag`` is the name and version of the model that is served."""
        # Here and not above: a service without a collector does without them.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        own = {"service.name": SERVICE_NAME, "service.version": __version__, "textserve.model": tag}
        resource = Resource.create({**own, **OTELResourceDetector().detect().attributes})
        # Not the process's global provider, which is BentoML's, and not ended at exit, which may take half a minute.
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self.tracer: trace.Tracer = self._provider.get_tracer(SERVICE_NAME, __version__)

    def runner(self, classifier: Classifier, settings: Settings, metrics: RunnerMetrics) -> Runner:
        """A runner that adds spans to those of the requests."""
        return TracedRunner(classifier, settings, metrics, self.tracer)

    async def close(self, seconds: float = LAST_SECONDS) -> None:
        """Send what is left; what could not be sent after ``seconds`` is given up."""
        # A daemon, unlike the threads of asyncio: the process does not wait for it.
        last = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        last.start()
        await asyncio.to_thread(partial(last.join, seconds))
        if last.is_alive():
            logger.warning("the last spans could not be sent within %g s", seconds)


class TracedRunner(Runner):
    """Says in spans below the request's where its time went, and in that one what was read."""

    def __init__(
        self, classifier: Classifier, settings: Settings, metrics: RunnerMetrics, tracer: trace.Tracer
    ) -> None:
        super().__init__(classifier, settings, metrics)
        self._tracer = tracer

    async def classify(
        self, texts: Sequence[str], seconds: float, truncation: Truncation | None = "right"
    ) -> Classified:
        """As :meth:`Runner.classify`."""
        request, began = trace.get_current_span(), time.time_ns()
        classified = await super().classify(texts, seconds, truncation)
        if request.is_recording():
            request.set_attributes({"textserve.texts": len(texts), "textserve.tokens": classified.tokens})
            self._record(began, classified)
        return classified

    def _record(self, began: int, classified: Classified) -> None:
        stages = {
            "tokenization": classified.tokenization_seconds,
            "queue": classified.queue_seconds,
            "inference": classified.inference_seconds,
        }
        for name, seconds in stages.items():
            ended = began + round(seconds * NANOSECONDS)
            self._tracer.start_span(name, start_time=began).end(ended)
            began = ended


def server_span(
    tracing: Tracing, name: str, given: Iterable[tuple[str | bytes, str | bytes]], attributes: dict[str, str]
) -> Any:
    """A context manager: the span of a request; ``given`` are its headers or metadata."""
    carrier = {_text(key): _text(value) for key, value in given}
    # An exception's message may quote a text: none is recorded.
    return tracing.tracer.start_as_current_span(
        name,
        propagate.extract(carrier),
        SpanKind.SERVER,
        attributes,
        record_exception=False,
        set_status_on_exception=False,
    )


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
