"""OpenTelemetry spans, if a collector is configured: the exporter, and spans of the runner.

Configured by OpenTelemetry's own variables, https://opentelemetry.io/docs/languages/sdk-configuration/. Without an
endpoint the SDK is not imported and requests run no code of this module. The protocols' spans are in
:mod:`textserve.http.spans` and :mod:`textserve.grpc.spans`. No attribute contains client input.
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
from textserve.prediction import Classified
from textserve.runner import Runner
from textserve.settings import Settings
from textserve.spec import Input
from textserve.telemetry import stages

logger = logging.getLogger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
SERVICE_NAME = "textserve"
# Time limit for sending the last spans; the collector may be down.
LAST_SECONDS = 2.0
NANOSECONDS = 1_000_000_000


def is_configured() -> bool:
    """Whether the environment names a collector and does not disable spans."""
    return (
        any(os.environ.get(name) for name in ENDPOINTS)
        and os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() != "true"
        and os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() != "none"
    )


class Tracing:
    """Exports spans over OTLP/HTTP, from its own thread; :meth:`close` sends the last ones."""

    def __init__(self, tag: str) -> None:
        """Start the exporter; ``tag`` is the name and version of the served model."""
        # Imported only with a collector: these imports slow the start.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        own = {"service.name": SERVICE_NAME, "service.version": __version__, "textserve.model": tag}
        resource = Resource.create({**own, **OTELResourceDetector().detect().attributes})
        # Not the global provider, which is BentoML's; not shut down at exit, which may take half a minute.
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self.tracer: trace.Tracer = self._provider.get_tracer(SERVICE_NAME, __version__)

    def runner(self, classifier: Classifier, settings: Settings, metrics: RunnerMetrics) -> Runner:
        """A runner that adds child spans to the requests' spans."""
        return TracedRunner(classifier, settings, metrics, self.tracer)

    async def close(self, seconds: float = LAST_SECONDS) -> None:
        """Send the remaining spans, and drop those not sent within ``seconds``."""
        # A daemon thread, unlike asyncio's: the process does not wait for it.
        last = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        last.start()
        await asyncio.to_thread(partial(last.join, seconds))
        if last.is_alive():
            logger.warning("the last spans could not be sent within %g s", seconds)


class TracedRunner(Runner):
    """Adds a child span for each stage to the request's span, which gets the numbers of texts and tokens."""

    def __init__(
        self, classifier: Classifier, settings: Settings, metrics: RunnerMetrics, tracer: trace.Tracer
    ) -> None:
        super().__init__(classifier, settings, metrics)
        self._tracer = tracer

    async def classify(
        self, texts: Sequence[Input], seconds: float, truncation: Truncation | None = "right"
    ) -> Classified:
        """See :meth:`Runner.classify`."""
        request, began = trace.get_current_span(), time.time_ns()
        classified = await super().classify(texts, seconds, truncation)
        if request.is_recording():
            request.set_attributes({"textserve.texts": len(texts), "textserve.tokens": classified.tokens})
            for name, duration in stages(classified).items():
                ended = began + round(duration * NANOSECONDS)
                self._tracer.start_span(name, start_time=began).end(ended)
                began = ended
        return classified


def server_span(
    tracing: Tracing, name: str, headers: Iterable[tuple[str | bytes, str | bytes]], attributes: dict[str, str]
) -> Any:
    """A context manager for the span of a request with these HTTP headers or gRPC metadata."""
    carrier = {_text(key): _text(value) for key, value in headers}
    # Exceptions are not recorded: a message may quote a text.
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
