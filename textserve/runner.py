"""The batched CPU runner: one queue per process, and worker threads that take batches from it.

It handles texts and scores, no protocols. Every batch is computed by one worker thread, outside the event loop: ONNX
Runtime releases the GIL while it computes, and a free worker takes the next batch directly, without a round trip
through the event loop. Other cores help with a large batch while they have nothing else to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Sequence
from math import inf

import numpy as np
import numpy.typing as npt

from textserve.admission import Admission
from textserve.batching import BatchLimits, BatchQueue, Text
from textserve.cache import AnswerCache, Row
from textserve.classifier import Classifier, Encoding, Truncation, activate
from textserve.delivery import Request, deliver, internal
from textserve.errors import DeadlineExceeded, InputTooLong, ShuttingDown
from textserve.metrics import RunnerMetrics
from textserve.prediction import Classified
from textserve.settings import Settings
from textserve.spec import Input
from textserve.tokenizing import Tokenizing
from textserve.worker import Worker

logger = logging.getLogger(__name__)

# Consecutive batches that fail before the service is not ready: a single request that makes inference fail costs one
# batch.
MAX_FAILURES = 5
# A request that waits longer than this times the longest queue is late.
LATE = 1.5
# A batch is spread over threads if it has this many tokens, so that synchronizing the threads pays, and if for so many
# seconds no two batches were wanted at the same time: another batch would slow it down.
SPREAD_TOKENS, CALM_SECONDS = 128, 1.0


class Runner:
    """Classifies texts for every protocol in this process: :meth:`start`, :meth:`classify`, :meth:`close`."""

    def __init__(self, classifier: Classifier, settings: Settings, metrics: RunnerMetrics) -> None:
        self._classifier, self._spec = classifier, classifier.spec
        self._metrics = metrics
        self._admission = Admission(settings)
        padding = settings.max_padding_tokens if classifier.pads else 0
        self._limits = BatchLimits(settings.max_batch_texts, settings.max_batch_tokens, padding)
        self._batch_wait_seconds, self._max_queue_seconds = settings.batch_wait_seconds, settings.max_queue_seconds
        self._queue: BatchQueue[Request] = BatchQueue(self._limits)
        self._changed = threading.Condition()
        self._tokenizing = Tokenizing(classifier)
        size = settings.cache_megabytes * 1_000_000
        self._cache = AnswerCache(size) if size else None
        metrics.watch(lambda: self._queue.tokens, lambda: self._cache.bytes if self._cache else 0)
        self._stopping = False
        self._unanswered: set[Request] = set()
        self._failures = 0
        self._crowded = -inf
        self._sample: Encoding | None = None
        self.workers = [Worker(number, self._work) for number in range(settings.threads)]

    def start(self, sample: Input | None = None) -> None:
        """Start the worker threads; with a ``sample`` text, the first one measures the speed before its first batch."""
        if sample is not None:
            self._sample = self._classifier.encode([sample])[0]
        for worker in self.workers:
            worker.start()

    @property
    def waiting(self) -> bool:
        """Whether texts are in the queue."""
        return bool(self._queue)

    @property
    def failing(self) -> bool:
        """Whether the last ``MAX_FAILURES`` batches have failed."""
        return self._failures >= MAX_FAILURES

    async def classify(
        self, texts: Sequence[Input], seconds: float, truncation: Truncation | None = "right"
    ) -> Classified:
        """Classify texts, in input order; a prediction does not depend on what else is computed.

        Cancelling the call drops texts that are still in the queue.

        Args:
            texts: the texts, or pairs of texts, to classify.
            seconds: time limit; texts still in the queue after it are dropped.
            truncation: the side on which texts longer than the model's input are cut; ``None`` rejects them.

        Raises:
            InputTooLong: if a text is too long and ``truncation`` is ``None``, or the model never truncates it.
            Overloaded: if the queue is too long; nothing of the request is computed.
            RequestTooLarge: if, by the measured speed, computing it takes longer than ``settings.request_seconds``.
            DeadlineExceeded: if the request takes longer than ``seconds``, or will by the measured speed.
            ShuttingDown: after :meth:`close` was called.
            Internal: if the model failed; the log has the cause.
        """
        if not texts:
            return Classified([], 0.0, 0.0, 0.0)
        received, deadline = time.perf_counter(), time.monotonic() + seconds
        # Checked before tokenizing too: a rejected request would take this time from the accepted ones.
        self.reject_if_overloaded(self._tokenizing.estimate(texts), seconds)
        encodings = await self._tokenizing.encode(texts, truncation or "right", deadline)
        if encodings is None:
            self._metrics.dropped("deadline", len(texts))
            raise _late(seconds)
        if truncation is None:
            _reject_truncated(encodings)
        answered = time.perf_counter()
        known = self._known(encodings)
        missing = [encoding for encoding, row in zip(encodings, known, strict=True) if row is None]
        request = await self._answer(missing, deadline, seconds) if missing else None
        rows = iter(request.answers if request else ())
        predictions = [
            encoding.answer(self._spec, scores, logits)
            for encoding, row in zip(encodings, known, strict=True)
            for scores, logits in [(next(rows) if row is None else row).tolist()]
        ]
        arrived, started = (request.arrived, request.started) if request else (answered, answered)
        return Classified(
            predictions,
            tokenization_seconds=arrived - received,
            queue_seconds=started - arrived,
            inference_seconds=time.perf_counter() - started,
        )

    def _known(self, encodings: Sequence[Encoding]) -> Sequence[Row | None]:
        """The cached answer to each text, or ``None``."""
        if self._cache is None:
            return [None] * len(encodings)
        found = [self._cache.find(encoding.row) for encoding in encodings]
        if repeated := sum(row is not None for row in found):
            self._metrics.cached(repeated)
        return found

    async def _answer(self, encodings: list[Encoding], deadline: float, seconds: float) -> Request:
        """Queue a request and return it once it is computed; raises as :meth:`classify` does."""
        request = self._admit(encodings, deadline, seconds)
        timer = request.loop.call_later(deadline - time.monotonic(), lambda: request.finish(_late(seconds)))
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
                self._unanswered.discard(request)
        return request

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
                request.finish(ShuttingDown("the service stopped before this request was answered"))
        await asyncio.to_thread(self._join, deadline)
        return not late

    def _join(self, deadline: float) -> None:
        for worker in self.workers:
            if worker.is_alive():
                # A worker that misses the deadline finishes its batch; as a daemon it ends with the process.
                worker.join(max(0.0, deadline - time.monotonic()) + 0.1)

    async def tokens(self, text: Input, seconds: float) -> int:
        """The number of tokens of ``text`` that the model reads, as :meth:`classify` would count them.

        Raises:
            InputTooLong, Overloaded, ShuttingDown, DeadlineExceeded: see :meth:`classify`.
        """
        self.reject_if_overloaded(self._tokenizing.estimate([text]), seconds)
        encodings = await self._tokenizing.encode([text], "right", time.monotonic() + seconds)
        if encodings is None:
            raise _late(seconds)
        return len(encodings[0].ids)

    def reject_if_overloaded(self, tokens: int = 0, seconds: float = inf) -> None:
        """Raise the error that :meth:`classify` would raise now for a request of ``tokens`` tokens.

        Raises:
            Overloaded, RequestTooLarge, ShuttingDown: see :meth:`classify`.
        """
        if self._stopping:
            raise ShuttingDown("the service is stopping and takes no new work")
        waiting, ahead = self._queue.tokens, self._queue.tokens_ahead
        for pending in self._tokenizing.pending.values():
            waiting += pending
            ahead += min(pending, self._limits.tokens)
        if ahead:
            # The next batch begins once the first worker is free.
            ahead += len(self.workers) * min([worker.tokens for worker in self.workers])
        self._admission.check(tokens, seconds, waiting=waiting, ahead=ahead)

    def _admit(self, encodings: list[Encoding], deadline: float, seconds: float) -> Request:
        loop = asyncio.get_running_loop()
        request = Request(
            encodings,
            deadline=deadline,
            late=time.monotonic() + LATE * self._max_queue_seconds,
            loop=loop,
            done=loop.create_future(),
            arrived=time.perf_counter(),
            answers=np.empty((len(encodings), 2, len(self._spec.labels)), dtype=np.float32),
            missing=len(encodings),
        )
        with self._changed:
            self.reject_if_overloaded(sum(len(encoding.ids) for encoding in encodings), seconds)
            self._queue.add(request)
            self._unanswered.add(request)
            self._changed.notify(min(len(encodings), len(self.workers)))
        return request

    def _work(self, worker: Worker) -> None:
        batch: list[Text[Request]] | None
        if self._sample is not None and worker is self.workers[0]:
            self._measure(self._sample)
        while True:
            batch = []
            try:
                batch = self._take(worker)
                if batch is None:
                    return
                if batch:
                    deliver(batch, self._compute(batch))
            except BaseException as error:
                # Whatever the error, this thread goes on: without worker threads the service could not answer.
                self._fail(batch, error)
            worker.end()

    def _measure(self, sample: Encoding) -> None:
        # Of a long text, whose tokens take longest, in little memory. In processor time, since other work competes now.
        tokens = min(512, self._limits.tokens, self._spec.tokenization.max_tokens)
        text = Encoding((sample.ids * tokens)[:tokens], False)
        started = time.thread_time()
        try:
            self._classifier.logits([text])
        except Exception:
            logger.exception("the speed cannot be measured")
        else:
            self._admission.measured(tokens, max(time.thread_time() - started, 1e-6))

    def _take(self, worker: Worker) -> list[Text[Request]] | None:
        """The next batch, empty if the deadlines of all waiting texts had passed; ``None`` when stopping."""
        with self._changed:
            while not self._queue and not self._stopping:
                self._changed.wait()
            self._wait_to_fill_batch()
            batch = self._queue.take(time.monotonic())
            if batch:
                worker.begin(sum({text.row: len(text.encoding.ids) for text in batch}.values()))
            return None if self._stopping and not batch else batch

    def _wait_to_fill_batch(self) -> None:
        """Wait ``TEXTSERVE_BATCH_WAIT_SECONDS`` at most for a full batch, unless there is only one request."""
        if self._batch_wait_seconds and len(self._unanswered) > 1:
            self._changed.wait_for(
                lambda: self._stopping or self._queue.tokens >= self._limits.tokens, self._batch_wait_seconds
            )

    def _compute(self, batch: list[Text[Request]]) -> list[Row | None]:
        started = time.perf_counter()
        for text in batch:
            text.work.started = min(text.work.started, started)
        # Texts with equal tokens are computed once.
        distinct = {text.row: text.encoding for text in batch}
        lengths = [len(encoding.ids) for encoding in distinct.values()]
        spread = self._is_spread(lengths, started)
        logits = self._classifier.logits(list(distinct.values()), spread=spread)
        self._observe(batch, lengths, started, spread)
        finite: npt.NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(logits), axis=1)
        rows = np.empty((len(logits), 2, logits.shape[1]), dtype=np.float32)
        rows[:, 0], rows[:, 1] = activate(self._spec.activation, logits), logits
        self._failures = 0 if finite.any() else self._failures + 1
        answers = {key: row if valid else None for key, row, valid in zip(distinct, rows, finite, strict=True)}
        if not finite.all():
            wrong = np.count_nonzero(~finite)
            logger.error(
                "NaN or infinity computed for %d of %d texts: check the model with make verify", wrong, len(rows)
            )
            self._metrics.failed("not_finite")
        if self._cache:
            for key, row in answers.items():
                if row is not None:
                    self._cache.keep(key, row)
        return [answers[text.row] for text in batch]

    def _is_spread(self, lengths: list[int], now: float) -> bool:
        """Whether to compute a batch on every core: if it is large, and they have nothing else to do."""
        if self._queue or sum(worker.busy for worker in self.workers) > 1:
            self._crowded = now
        calm = now - self._crowded > CALM_SECONDS
        return calm and sum(lengths) >= SPREAD_TOKENS and self._classifier.can_spread()

    def _observe(self, batch: list[Text[Request]], lengths: list[int], started: float, spread: bool) -> None:
        seconds = time.perf_counter() - started
        self._admission.computed(sum(lengths), seconds, spread=spread)
        self._metrics.observe_batch(lengths, seconds, [started - text.work.arrived for text in batch])

    def _fail(self, batch: list[Text[Request]] | None, error: BaseException) -> None:
        """Fail the requests of a failed batch; if the queue has failed, every request."""
        self._failures += 1
        self._metrics.failed("exception")
        if batch:
            logger.error("inference failed on a batch of %d texts", len(batch), exc_info=error)
            deliver(batch, [None] * len(batch))
            return
        with self._changed:
            logger.error("the queue failed, with %d requests", len(self._unanswered), exc_info=error)
            self._queue = BatchQueue(self._limits)
            for request in self._unanswered:
                request.forget()
                with contextlib.suppress(RuntimeError):
                    request.loop.call_soon_threadsafe(request.finish, internal())


def _reject_truncated(encodings: Sequence[Encoding]) -> None:
    for index, encoding in enumerate(encodings):
        if encoding.truncated:
            message = f"has more than {len(encoding.ids)} tokens; send a shorter text, or let it be truncated"
            raise InputTooLong(message, where=f"texts[{index}]")


def _late(seconds: float) -> DeadlineExceeded:
    return DeadlineExceeded(f"not answered within {seconds:g} s; the service is busy")
