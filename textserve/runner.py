"""The batched CPU runner: one queue per process, and worker threads that take batches from it.

It handles texts and probabilities, no protocols. Every batch is computed on one worker thread, outside the event loop:
ONNX Runtime releases the GIL while it computes, and a free worker takes the next batch directly, without a round trip
through the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

import numpy as np
import numpy.typing as npt

from textserve.admission import Admission
from textserve.batching import BatchLimits, BatchQueue, Text, Work
from textserve.classifier import Classifier, Encoding, Truncation, softmax
from textserve.errors import DeadlineExceeded, InputTooLong, Internal, ShuttingDown
from textserve.metrics import RunnerMetrics
from textserve.settings import Settings
from textserve.spec import Meaning

logger = logging.getLogger(__name__)

# Texts tokenized at once on the event loop; longer requests yield to others in between.
ENCODE_TEXTS = 32
ENCODE_CHARACTERS = 10_000


@dataclass(frozen=True, slots=True)
class Prediction:
    """The result for one text.

    Attributes:
        labels: the model's labels, by index; shared by all predictions.
        probabilities: one per label, summing to 1.
        tokens: tokens read by the model, special tokens included.
        truncated: whether the text had more tokens.
        logits: the model's outputs before softmax.
    """

    labels: Sequence[Meaning]
    probabilities: Sequence[float]
    tokens: int
    truncated: bool
    logits: Sequence[float] = ()

    @property
    def score(self) -> float:
        """The highest probability."""
        return max(self.probabilities)

    @property
    def label(self) -> Meaning:
        """The label with the highest probability; the first one in a tie."""
        return self.labels[self.probabilities.index(self.score)]

    def ranked(self, scores: Sequence[float] | None = None) -> list[tuple[Meaning, float]]:
        """Labels with their ``scores`` (default: the probabilities), highest first."""
        pairs = zip(self.labels, self.probabilities if scores is None else scores, strict=True)
        return sorted(pairs, key=lambda pair: -pair[1])


@dataclass(frozen=True, slots=True)
class Classified:
    """Predictions of a request, in input order, and the seconds it took.

    Queueing ends and inference begins when the first text is computed.
    """

    predictions: list[Prediction]
    tokenization_seconds: float
    queue_seconds: float
    inference_seconds: float

    @property
    def tokens(self) -> int:
        """Tokens of all its texts."""
        return sum(prediction.tokens for prediction in self.predictions)


@dataclass(slots=True, eq=False)
class _Request(Work):
    """Work awaited on ``loop``; a row has the probabilities and the logits of a text."""

    loop: asyncio.AbstractEventLoop = field(kw_only=True)
    done: asyncio.Future[None] = field(kw_only=True)
    arrived: float = field(kw_only=True)
    rows: npt.NDArray[np.float32] = field(kw_only=True)
    missing: int = field(kw_only=True)
    started: float = field(default=inf, init=False)


class Runner:
    """Classifies texts for every protocol in this process: :meth:`start`, :meth:`classify`, :meth:`close`."""

    def __init__(self, classifier: Classifier, settings: Settings, metrics: RunnerMetrics) -> None:
        self._classifier = classifier
        self._labels = classifier.spec.meanings
        self._metrics = metrics
        self._admission = Admission(settings.max_queue_seconds, settings.max_waiting_tokens, settings.threads)
        padding = settings.max_padding_tokens if classifier.pads else 0
        self._limits = BatchLimits(settings.max_batch_texts, settings.max_batch_tokens, padding)
        self._batch_wait_seconds = settings.batch_wait_seconds
        self._queue: BatchQueue[_Request] = BatchQueue(self._limits)
        self._changed = threading.Condition()
        self._workers = [
            threading.Thread(target=self._work, name=f"runner-{number}", daemon=True)
            for number in range(settings.threads)
        ]
        self._stopping = False
        self._unanswered: set[_Request] = set()

    def start(self) -> None:
        """Start the worker threads."""
        for worker in self._workers:
            worker.start()

    async def classify(
        self, texts: Sequence[str], seconds: float, truncation: Truncation | None = "right"
    ) -> Classified:
        """Classify texts, in input order; a prediction does not depend on what else is computed.

        Cancelling the call drops texts that are still in the queue.

        Args:
            texts: the texts to classify.
            seconds: time limit; texts still in the queue after it are dropped.
            truncation: the side on which texts longer than the model's input are cut; ``None`` rejects them.

        Raises:
            InputTooLong: if a text is too long and ``truncation`` is ``None``.
            Overloaded: if the queue is too long; nothing of the request is computed.
            DeadlineExceeded: if the request takes longer than ``seconds``.
            ShuttingDown: after :meth:`close` was called.
            Internal: if the model failed; the log has the cause.
        """
        if not texts:
            return Classified([], 0.0, 0.0, 0.0)
        received = time.perf_counter()
        # Tokenizing costs time too, which a rejected request would take from the accepted ones.
        self.reject_if_overloaded()
        encodings = await self._encode(texts, truncation or "right")
        if truncation is None:
            _reject_truncated(encodings)
        request = self._admit(encodings, time.monotonic() + seconds)
        late = DeadlineExceeded(f"not answered within {seconds:g} s; the service is busy")
        timer = request.loop.call_later(seconds, _finish, request, late)
        try:
            await request.done
        except asyncio.CancelledError:
            self._metrics.dropped("cancelled", request.waiting_texts)
            raise
        except DeadlineExceeded:
            self._metrics.dropped("deadline", request.waiting_texts)
            raise
        finally:
            timer.cancel()
            with self._changed:
                self._queue.cancel(request)
                self._metrics.waiting_tokens.set(self._queue.tokens)
            self._unanswered.discard(request)
        predictions = [
            Prediction(self._labels, probabilities, len(encoding.ids), encoding.truncated, logits)
            for encoding, (probabilities, logits) in zip(encodings, request.rows.tolist(), strict=True)
        ]
        return Classified(
            predictions,
            tokenization_seconds=request.arrived - received,
            queue_seconds=request.started - request.arrived,
            inference_seconds=time.perf_counter() - request.started,
        )

    async def close(self, seconds: float) -> bool:
        """Reject new work, answer accepted requests, and stop the workers.

        Args:
            seconds: time limit; requests not answered within it fail with :class:`ShuttingDown`.

        Returns:
            Whether every accepted request was answered.
        """
        deadline = time.monotonic() + seconds
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        waiting = [request.done for request in self._unanswered]
        late = (await asyncio.wait(waiting, timeout=seconds))[1] if waiting else set()
        with self._changed:
            for request in self._unanswered:
                self._queue.cancel(request)
                _finish(request, ShuttingDown("the service stopped before this request was answered"))
        await asyncio.to_thread(self._join, deadline)
        return not late

    def _join(self, deadline: float) -> None:
        for worker in self._workers:
            if worker.is_alive():
                # A worker that misses the deadline finishes its batch; as a daemon it ends with the process.
                worker.join(max(0.0, deadline - time.monotonic()) + 0.1)

    async def _encode(self, texts: Sequence[str], truncation: Truncation) -> list[Encoding]:
        encodings: list[Encoding] = []
        chunk: list[str] = []
        characters = 0
        for text in texts:
            if chunk and (len(chunk) == ENCODE_TEXTS or characters + len(text) > ENCODE_CHARACTERS):
                encodings += self._classifier.encode(chunk, truncation)
                chunk, characters = [], 0
                await asyncio.sleep(0)
            chunk.append(text)
            characters += len(text)
        return encodings + self._classifier.encode(chunk, truncation)

    def reject_if_overloaded(self, tokens: int = 0) -> None:
        """Raise the error that :meth:`classify` would raise now for a request of ``tokens`` tokens.

        Raises:
            Overloaded, ShuttingDown: see :meth:`classify`.
        """
        if self._stopping:
            raise ShuttingDown("the service is stopping and takes no new work")
        self._admission.check(tokens, waiting=self._queue.tokens, ahead=self._queue.tokens_ahead)

    def _admit(self, encodings: list[Encoding], deadline: float) -> _Request:
        loop = asyncio.get_running_loop()
        request = _Request(
            encodings,
            deadline=deadline,
            loop=loop,
            done=loop.create_future(),
            arrived=time.perf_counter(),
            rows=np.empty((len(encodings), 2, len(self._classifier.spec.labels)), dtype=np.float32),
            missing=len(encodings),
        )
        with self._changed:
            self.reject_if_overloaded(sum(len(encoding.ids) for encoding in encodings))
            self._queue.add(request)
            self._unanswered.add(request)
            self._metrics.waiting_tokens.set(self._queue.tokens)
            self._changed.notify(min(len(encodings), len(self._workers)))
        return request

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._stopping:
                    self._changed.wait()
                self._wait_to_fill_batch()
                batch = self._queue.take(time.monotonic())
                self._metrics.waiting_tokens.set(self._queue.tokens)
                if not batch:
                    if self._stopping:
                        return
                    continue
            self._compute(batch)

    def _wait_to_fill_batch(self) -> None:
        """Wait ``TEXTSERVE_BATCH_WAIT_SECONDS`` at most for a full batch, unless there is only one request."""
        if self._batch_wait_seconds and len(self._unanswered) > 1:
            self._changed.wait_for(
                lambda: self._stopping or self._queue.tokens >= self._limits.tokens, self._batch_wait_seconds
            )

    def _compute(self, batch: list[Text[_Request]]) -> None:
        started = time.perf_counter()
        for text in batch:
            text.work.started = min(text.work.started, started)
        try:
            logits = self._classifier.logits([text.encoding for text in batch])
            rows = np.stack((softmax(logits), logits), axis=1)
            self._observe(batch, started)
        except Exception:
            logger.exception("inference failed on a batch of %d texts", len(batch))
            self._deliver(batch, None)
        else:
            self._deliver(batch, rows)

    def _observe(self, batch: list[Text[_Request]], started: float) -> None:
        seconds = time.perf_counter() - started
        lengths = [len(text.encoding.ids) for text in batch]
        self._admission.computed(sum(lengths), seconds)
        self._metrics.observe_batch(lengths, seconds, [started - text.work.arrived for text in batch])

    def _deliver(self, batch: list[Text[_Request]], rows: npt.NDArray[np.float32] | None) -> None:
        """Pass the rows to their requests, on the thread of each request's event loop."""
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Text[_Request], npt.NDArray[np.float32] | None]]] = {}
        for index, text in enumerate(batch):
            row = None if rows is None else rows[index]
            by_loop.setdefault(text.work.loop, []).append((text, row))
        for loop, results in by_loop.items():
            # A closed event loop has no waiting requests.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_receive, results)


def _reject_truncated(encodings: Sequence[Encoding]) -> None:
    for index, encoding in enumerate(encodings):
        if encoding.truncated:
            message = f"has more than {len(encoding.ids)} tokens; send a shorter text, or let it be truncated"
            raise InputTooLong(message, where=f"texts[{index}]")


def _receive(results: list[tuple[Text[_Request], npt.NDArray[np.float32] | None]]) -> None:
    for text, row in results:
        request = text.work
        if row is None:
            _finish(request, Internal("the model failed on this request; the server's log says why"))
            continue
        request.rows[text.index] = row
        request.missing -= 1
        if request.missing == 0:
            _finish(request, None)


def _finish(request: _Request, error: Exception | None) -> None:
    if request.done.done():
        return
    if error is None:
        request.done.set_result(None)
    else:
        request.done.set_exception(error)
