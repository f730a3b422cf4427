"""The application that all protocols share: one model, one runner, one set of limits, one readiness."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import CollectorRegistry, ProcessCollector

from textserve.classifier import MODEL_FILE, Classifier, GoldenMismatch, Truncation
from textserve.drift import Reference, Window
from textserve.errors import EmptyInput, InvalidRequest, NotReady, TextTooLong, TooManyTexts
from textserve.keys import ApiKeys
from textserve.loading import load
from textserve.metrics import (
    HealthMetrics,
    ModelMetrics,
    PredictionMetrics,
    RequestMetrics,
    RunnerMetrics,
    WorkerMetrics,
)
from textserve.prediction import Classified, Prediction
from textserve.runner import Runner
from textserve.settings import Settings
from textserve.spec import Input
from textserve.tls import Certificate
from textserve.watchdog import Watchdog

logger = logging.getLogger(__name__)

# Allocations minus deallocations that start a garbage collection. One request reaches Python's default, 700; a
# collection pauses every request while it visits the objects.
GC_ALLOCATIONS = 10_000
# Maximum scores in one response: some 20 ms of the event loop.
MAX_SCORES = 50_000


@dataclass(frozen=True, slots=True)
class Application:
    """A served model: :meth:`load`, :meth:`start`, :meth:`close`."""

    tag: str
    settings: Settings
    classifier: Classifier
    runner: Runner
    metrics_registry: CollectorRegistry
    requests: RequestMetrics
    predictions: PredictionMetrics
    watchdog: Watchdog
    ready: bool
    keys: ApiKeys = field(default_factory=lambda: ApiKeys([]))
    certificate: Certificate | None = None
    # Called with the texts and the predictions of each :meth:`classify`; they must not raise.
    observers: list[Callable[[Sequence[Input], Sequence[Prediction]], None]] = field(default_factory=list)
    _leaving: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list, init=False)

    @classmethod
    def load(
        cls,
        folder: Path,
        tag: str,
        settings: Settings,
        make_runner: Callable[[Classifier, Settings, RunnerMetrics], Runner] = Runner,
    ) -> Application:
        """Load the model in ``folder`` and check its golden texts; ``tag`` is its name and version.

        Raises:
            SpecError, ModelFilesError: if the folder has no usable model.
            OSError: if the API keys file cannot be read.
        """
        keys = settings.keys()
        metrics_registry = CollectorRegistry()
        classifier = load(folder, settings.batch_threads)
        ready = True
        try:
            classifier.check_golden()
        except GoldenMismatch as error:
            logger.error("the model fails its golden texts and stays unready: %s", error)
            ready = False
        runner = make_runner(classifier, settings, RunnerMetrics(metrics_registry))
        requests = RequestMetrics(metrics_registry)
        reference = Reference.load(folder)
        window = Window(reference, settings.drift_texts) if reference else None
        predictions = PredictionMetrics(metrics_registry, classifier.spec, window)
        watchdog = Watchdog(runner, settings.stall_seconds)
        WorkerMetrics(metrics_registry, runner.workers)
        ProcessCollector(registry=metrics_registry)
        model = ModelMetrics(metrics_registry)
        with (folder / MODEL_FILE).open("rb") as file:
            model.served(tag, hashlib.file_digest(file, "sha256").hexdigest())
        if settings.api_keys_file:
            model.secret("api_keys", keys.readable)
        if certificate := settings.certificate():
            model.secret("certificate", certificate.readable)
        parts = classifier, runner, metrics_registry, requests, predictions, watchdog
        loaded = cls(tag, settings, *parts, ready, keys, certificate)
        HealthMetrics(metrics_registry).ready(lambda: loaded.available)
        return loaded

    @property
    def max_texts(self) -> int:
        """Maximum texts in one request: ``settings.max_texts``, or fewer if each has many scores (``MAX_SCORES``)."""
        return max(1, min(self.settings.max_texts, MAX_SCORES // len(self.classifier.spec.labels)))

    @property
    def available(self) -> bool:
        """Whether to route requests here: the golden texts passed, and the service is able to answer and not stopping.

        Every health endpoint of every protocol reports this.
        """
        return self.ready and not self._leaving.is_set() and self.watchdog.problem is None

    @property
    def alive(self) -> bool:
        """Whether the process can still recover; if not, it should be restarted."""
        return self.watchdog.alive

    def leave(self) -> None:
        """Stop being :attr:`available`, but keep answering."""
        self._leaving.set()

    async def left(self) -> None:
        """Wait until :meth:`leave` is called."""
        await self._leaving.wait()

    def start(self, end: Callable[[], None]) -> None:
        """Start the runner and its watchdog, which calls ``end`` to end the process, and make garbage collection rare.

        A full collection pauses every request while it visits all objects, most of them code that is never freed. So
        the existing objects are frozen, and the rest, few and short-lived, are collected rarely.
        """
        gc.collect()
        gc.freeze()
        gc.enable()
        gc.set_threshold(GC_ALLOCATIONS, *gc.get_threshold()[1:])
        self.runner.start(sample=self.classifier.spec.golden[0].input)
        self._tasks.append(asyncio.create_task(self.watchdog.watch(self._probe, end)))
        logger.info("serving %s on %d threads", self.tag, self.settings.threads)

    async def _probe(self) -> Classified:
        return await self.runner.classify([self.classifier.spec.golden[0].input], self.settings.stall_seconds)

    async def close(self) -> None:
        """Answer accepted requests within ``settings.drain_seconds``, and stop."""
        await self._close(self.settings.drain_seconds)

    async def abandon(self) -> None:
        """Fail every unanswered request, and stop."""
        await self._close(0)

    async def _close(self, seconds: float) -> None:
        for task in self._tasks:
            task.cancel()
        if not await self.runner.close(seconds):
            logger.error("stopped after %g s with requests unanswered", self.settings.drain_seconds)

    async def classify(
        self, texts: Sequence[Input], *, seconds: float | None = None, truncation: Truncation | None = "right"
    ) -> Classified:
        """Check ``texts`` against the limits, and classify them.

        Args:
            texts: the texts, or for a model of pairs the pairs of texts, to classify.
            seconds: the client's time limit, if less than ``settings.request_seconds``.
            truncation: the side on which texts longer than the model's input are cut; ``None`` rejects them.

        Raises:
            InvalidRequest: if the model takes pairs and an input is one text, or the other way round.
            EmptyInput, TooManyTexts, TextTooLong, InputTooLong: if a limit is exceeded; ``where`` has the text's index.
            NotReady: if the model failed its golden texts.
            Overloaded, RequestTooLarge, DeadlineExceeded, ShuttingDown, Internal: see
                :meth:`textserve.runner.Runner.classify`.
        """
        if not texts:
            raise EmptyInput("is empty; send at least one text", where="texts")
        limit = self.max_texts
        if len(texts) > limit:
            raise TooManyTexts(f"has {len(texts)} texts; send at most {limit} in one request", where="texts")
        for index, text in enumerate(texts):
            self.check_input(text, f"texts[{index}]")
        classified = await self.classify_parts(texts, seconds=seconds, truncation=truncation)
        self.predictions.count(classified.predictions)
        for observe in self.observers:
            observe(texts, classified.predictions)
        return classified

    async def classify_parts(
        self, parts: Sequence[Input], *, seconds: float | None = None, truncation: Truncation | None = "right"
    ) -> Classified:
        """Classify parts of texts that :meth:`check_input` accepted; a part may be empty.

        Raises:
            NotReady, Overloaded, RequestTooLarge, DeadlineExceeded, ShuttingDown, Internal: see :meth:`classify`.
        """
        if not self.ready:
            raise NotReady("the model fails its golden texts; the server's log lists them")
        limit = self.settings.request_seconds
        return await self.runner.classify(parts, limit if seconds is None else min(seconds, limit), truncation)

    def check_input(self, value: Input, where: str) -> None:
        """Check a text or pair of texts, at ``where`` in the request, against the model's input and the limits.

        An empty ``where`` is the whole request, whose keys are ``text`` and ``text_pair``.

        Raises:
            InvalidRequest: if the model takes pairs and this is one text, or the other way round.
            EmptyInput, TextTooLong: if a text is empty, white space or too long.
        """
        if self.classifier.spec.input == "text":
            if not isinstance(value, str):
                raise InvalidRequest(
                    "is a pair, and this model takes single texts; send each as one string", where=where or "body"
                )
            self._check_text(value, where)
        elif isinstance(value, str):
            raise InvalidRequest("is one text, and this model takes pairs: a text and its text_pair", where=where)
        else:
            for text, key in zip(value, ("text", "text_pair"), strict=True):
                self._check_text(text, f"{where}.{key}".removeprefix("."))

    def _check_text(self, text: str, where: str) -> None:
        limit = self.settings.max_characters
        if len(text) > limit:
            raise TextTooLong(f"has {len(text)} characters; send at most {limit}", where=where)
        if not text or text.isspace():
            raise EmptyInput("is empty or only white space", where=where)
