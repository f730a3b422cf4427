"""Sends requests over HTTP to a protocol in this process, whose application has a fake runner."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, MutableMapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import httpx
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from textserve.application import Application
from textserve.classifier import Classifier, Truncation
from textserve.http.operations import BENTOML, OPERATIONS
from textserve.http.router import HttpProtocol, HttpProtocols
from textserve.metrics import PredictionMetrics, RequestMetrics
from textserve.prediction import Classified, Prediction
from textserve.runner import Runner
from textserve.settings import Settings
from textserve.spec import Input, ModelSpec
from textserve.watchdog import Watchdog
from textserve.worker import Worker

Message = MutableMapping[str, Any]
Outcome = list[Prediction] | Exception

LABELS = ["negative", "neutral", "positive"]
SPEC = ModelSpec.model_validate(
    {
        "name": "fake",
        "description": "Fake.",
        "labels": LABELS,
        "tokenization": {"pad_id": 0, "max_tokens": 512},
        "golden": [{"text": "Good.", "label": "positive"}, {"text": "Bad.", "label": "negative"}],
    }
)
ANSWER = [Prediction(SPEC, [0.1, 0.2, 0.7], tokens=3, truncated=False, logits=[-1.0, -0.5, 2.0])]


class FakeRunner:
    """Records every request and answers it with ``outcome``; if that is ``None``, it answers once ``finished`` is set.

    A single prediction answers every text; several answer the texts of a request in order.
    """

    def __init__(self, outcome: Outcome | None) -> None:
        self.outcome = outcome
        self.asked: list[list[Input]] = []
        self.seconds: list[float] = []
        self.truncations: list[Truncation | None] = []
        self.cancelled = 0
        self.failing = False
        self.workers: list[Worker] = []
        self.finished = asyncio.Event()

    def reject_if_overloaded(self) -> None:
        """Never rejects; tests of a full queue give ``Overloaded`` as the outcome."""

    async def tokens(self, text: Input, seconds: float) -> int:
        return len(text.split() if isinstance(text, str) else " ".join(text).split())

    async def classify(
        self, texts: Sequence[Input], seconds: float, truncation: Truncation | None = "right"
    ) -> Classified:
        self.asked.append(list(texts))
        self.seconds.append(seconds)
        self.truncations.append(truncation)
        if self.outcome is None:
            try:
                async with asyncio.timeout(60):
                    await self.finished.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
            return self._classified(ANSWER, texts)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self._classified(self.outcome, texts)

    def _classified(self, outcome: list[Prediction], texts: Sequence[Input]) -> Classified:
        predictions = outcome * len(texts) if len(outcome) == 1 else outcome
        return Classified(predictions, tokenization_seconds=0.001, queue_seconds=0.002, inference_seconds=0.003)


def described(spec: ModelSpec) -> Classifier:
    """A classifier for protocols, which read nothing of it but its spec."""
    return cast(Classifier, SimpleNamespace(spec=spec))


def fake_application(classifier: Classifier, runner: FakeRunner, settings: dict[str, Any]) -> Application:
    """An application whose answers come from ``runner``."""
    registry = CollectorRegistry()
    configured = Settings.model_validate(settings)
    return Application(
        tag="tiny:1",
        settings=configured,
        classifier=classifier,
        runner=cast(Runner, runner),
        metrics_registry=registry,
        requests=RequestMetrics(registry),
        predictions=PredictionMetrics(registry, classifier.spec),
        watchdog=Watchdog(cast(Runner, runner), configured.stall_seconds),
        ready=True,
        keys=configured.keys(),
    )


class Client:
    """A client of a protocol, which passes other requests on to an app that answers 418."""

    def __init__(
        self, classifier: Classifier, protocol: HttpProtocol, outcome: Outcome | None, settings: dict[str, Any]
    ) -> None:
        self.runner = FakeRunner(outcome)
        self.application = fake_application(classifier, self.runner, settings)
        self.passed_on: list[Message] = []
        # The first protocol answers unknown paths, except below the prefix of another protocol.
        self.app = HttpProtocols(self._wrapped, lambda: self.application, [BENTOML, protocol, OPERATIONS])

    async def _wrapped(self, scope: Message, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        self.passed_on.append(scope)
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 418, "headers": []})
            await send({"type": "http.response.body", "body": b"wrapped"})

    def request(
        self,
        method: str,
        path: str,
        content: bytes | AsyncIterator[bytes] | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        """Send a request, in this process."""

        async def run() -> httpx.Response:
            app: Any = self.app
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
                return await client.request(method, path, content=content, headers=headers)

        return asyncio.run(run())

    def post(self, path: str, content: object, headers: dict[str, str] | None = None) -> httpx.Response:
        """Post bytes, chunks of bytes, or a value as JSON."""
        body: Any = content if isinstance(content, bytes | AsyncIterator) else json.dumps(content).encode()
        return self.request("POST", path, body, headers)

    def raw(
        self, path: str, headers: list[tuple[bytes, bytes]], messages: Sequence[Message]
    ) -> tuple[list[Message], int]:
        """The messages of the response to a POST, and how many of ``messages``, its body, were read."""
        sent: list[Message] = []
        incoming: asyncio.Queue[Message] = asyncio.Queue()
        for message in messages:
            incoming.put_nowait(message)

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
        asyncio.run(asyncio.wait_for(self.app(scope, incoming.get, send), 60))
        return sent, len(messages) - incoming.qsize()

    def outcomes(self) -> dict[str, float]:
        """The number of requests by outcome, from /metrics."""
        text = self.request("GET", "/metrics").text
        return {
            sample.labels["outcome"]: sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "textserve_requests_total"
        }


Serve = Callable[..., Client]
