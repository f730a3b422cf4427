"""What every protocol talks to: one model, one runner, one set of limits, one readiness."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import CollectorRegistry

from textserve.classifier import Classifier, GoldenMismatch, Truncation
from textserve.errors import EmptyInput, NotReady, TextTooLong, TooManyTexts
from textserve.keys import ApiKeys
from textserve.loading import load
from textserve.metrics import RequestMetrics, RunnerMetrics
from textserve.runner import Classified, Runner
from textserve.settings import Settings
from textserve.spec import Meaning

logger = logging.getLogger(__name__)

# Objects that are allocated and not freed before the garbage collector looks for cycles among them; Python's own
# default is 700, which one request reaches.
GC_ALLOCATIONS = 50_000


@dataclass(frozen=True, slots=True)
class Application:
    """One model being served. Build it with :meth:`load`, then :meth:`start`, and :meth:`close` at the end."""

    tag: str
    settings: Settings
    classifier: Classifier
    runner: Runner
    registry: CollectorRegistry
    requests: RequestMetrics
    ready: bool
    keys: ApiKeys = field(default_factory=lambda: ApiKeys([]))
    _leaving: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    @classmethod
    def load(
        cls,
        folder: Path,
        tag: str,
        settings: Settings,
        make_runner: Callable[[Classifier, Settings, RunnerMetrics], Runner] = Runner,
    ) -> Application:
        """Load the model in ``folder`` and have it answer its golden texts; ``tag`` is its name and version.

        Raises:
            SpecError, ModelFilesError: if the folder holds no usable model.
            OSError: if the file of the API keys cannot be read.
        """
        keys = settings.keys()
        registry = CollectorRegistry()
        classifier = load(folder)
        try:
            classifier.check_golden()
        except GoldenMismatch as error:
            logger.error("not ready, and will not be: %s", error)
            ready = False
        else:
            ready = True
        runner = make_runner(classifier, settings, RunnerMetrics(registry))
        return cls(tag, settings, classifier, runner, registry, RequestMetrics(registry), ready, keys)

    @property
    def available(self) -> bool:
        """Whether requests should be sent here: the model answers rightly, and the service is not about to stop."""
        return self.ready and not self._leaving.is_set()

    def leave(self) -> None:
        """Be no longer :attr:`available`, and go on answering."""
        self._leaving.set()

    async def left(self) -> None:
        """Wait until :meth:`leave` is called."""
        await self._leaving.wait()

    @property
    def meanings(self) -> list[Meaning]:
        """What each of a prediction's probabilities means, by index."""
        return self.classifier.spec.meanings

    def start(self) -> None:
        """Start computing, with the garbage collector kept out of the way.

        A full collection stops every request while it looks at each object there is, most of them loaded code that is
        there for good. So what exists now is set aside, and the rest, little and short-lived, is looked at seldom.
        """
        gc.collect()
        gc.freeze()
        gc.enable()
        gc.set_threshold(GC_ALLOCATIONS, *gc.get_threshold()[1:])
        self.runner.start()
        logger.info("serving %s on %d threads", self.tag, self.settings.threads)

    async def close(self) -> None:
        """Answer what was accepted, within ``settings.drain_seconds``, and stop."""
        if not await self.runner.close(self.settings.drain_seconds):
            logger.error("stopped after %g s with requests unanswered", self.settings.drain_seconds)

    async def abandon(self) -> None:
        """Refuse what is not answered yet, and stop."""
        if not await self.runner.close(0):
            logger.error("stopped after %g s with requests unanswered", self.settings.drain_seconds)

    async def classify(
        self, texts: Sequence[str], *, seconds: float | None = None, truncation: Truncation | None = "right"
    ) -> Classified:
        """Classify ``texts`` after checking them against the limits.

        Args:
            texts: what to classify.
            seconds: how long the caller waits for the answer, if that is less than ``settings.request_seconds``.
            truncation: the side on which texts longer than the model reads are cut off; ``None`` refuses them.

        Raises:
            EmptyInput, TooManyTexts, TextTooLong, InputTooLong: naming the text by its place.
            NotReady: if the model did not answer its golden texts rightly.
            Overloaded, DeadlineExceeded, ShuttingDown, Internal: see :meth:`textserve.runner.Runner.classify`.
        """
        self._check(texts)
        return await self.classify_parts(texts, seconds=seconds, truncation=truncation)

    async def classify_parts(
        self, parts: Sequence[str], *, seconds: float | None = None, truncation: Truncation | None = "right"
    ) -> Classified:
        """Classify what was made from texts that :meth:`check_text` has passed; a part may be empty.

        Raises:
            NotReady, Overloaded, DeadlineExceeded, ShuttingDown, Internal: as :meth:`classify` does.
        """
        if not self.ready:
            raise NotReady("the model does not answer its golden texts as its spec says; the server's log names them")
        allowed = self.settings.request_seconds
        return await self.runner.classify(parts, allowed if seconds is None else min(seconds, allowed), truncation)

    def _check(self, texts: Sequence[str]) -> None:
        if not texts:
            raise EmptyInput("is empty; send at least one text", where="texts")
        if len(texts) > self.settings.max_texts:
            raise TooManyTexts(
                f"has {len(texts)} texts; send at most {self.settings.max_texts} in one request", where="texts"
            )
        for place, text in enumerate(texts):
            self.check_text(text, place)

    def check_text(self, text: str, place: int | None = None) -> None:
        """Check one text against the limits; ``place`` is where it stands among several.

        Raises:
            EmptyInput, TextTooLong: naming the text by its place, or as ``text``.
        """
        if len(text) > self.settings.max_characters:
            message = f"has {len(text)} characters; send at most {self.settings.max_characters}"
            raise TextTooLong(message, where=_where(place))
        if not text or text.isspace():
            raise EmptyInput("is empty or only white space", where=_where(place))


def _where(place: int | None) -> str:
    return "text" if place is None else f"texts[{place}]"
