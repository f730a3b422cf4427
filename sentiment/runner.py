"""The batched CPU runner: one queue in a process, worker threads that take batches from it, exact answers.

It knows texts and probabilities and nothing of protocols. Work runs beside the event loop: every batch is computed on
one worker thread, ONNX Runtime releases the interpreter's lock while it computes, and a worker that becomes free takes
the next batch itself, without a round trip through the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from sentiment.batching import BatchLimits, BatchQueue, Text, Work
from sentiment.classifier import Classifier, Encoding
from sentiment.errors import Internal, Overloaded, ShuttingDown
from sentiment.metrics import RunnerMetrics
from sentiment.settings import Settings

logger = logging.getLogger(__name__)

# Texts tokenized at once on the event loop; a longer request gives way to others in between.
ENCODE_TEXTS = 32
ENCODE_CHARACTERS = 10_000
# How much texts of one batch may differ in length, where padding is hidden from the graph.
SPREAD = 0.1
# Weight of the newest batch in the moving average of tokens computed a second.
RATE_WEIGHT = 0.05


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one text: a probability for each of ``spec.labels``, in their order, and what was read."""

    probabilities: list[float]
    tokens: int
    truncated: bool


@dataclass(slots=True, eq=False)
class _Request(Work):
    """Work whose results somebody on ``loop`` waits for."""

    loop: asyncio.AbstractEventLoop = field(kw_only=True)
    done: asyncio.Future[None] = field(kw_only=True)
    arrived: float = field(kw_only=True)
    rows: npt.NDArray[np.float32] = field(kw_only=True)
    missing: int = field(kw_only=True)


class Runner:
    """Classifies texts for everything in this process that asks. :meth:`start` it, :meth:`classify`, :meth:`close`."""

    def __init__(self, classifier: Classifier, settings: Settings, metrics: RunnerMetrics) -> None:
        self._classifier = classifier
        self._metrics = metrics
        self._max_waiting_tokens = settings.max_waiting_tokens
        spread = SPREAD if classifier.pads else 0.0
        limits = BatchLimits(settings.max_batch_texts, settings.max_batch_tokens, spread)
        self._queue: BatchQueue[_Request] = BatchQueue(limits)
        self._changed = threading.Condition()
        self._workers = [
            threading.Thread(target=self._work, name=f"runner-{number}", daemon=True)
            for number in range(settings.threads)
        ]
        self._stopping = False
        self._unanswered: set[_Request] = set()
        self._tokens_per_second = 0.0

    def start(self) -> None:
        """Start the worker threads."""
        for worker in self._workers:
            worker.start()

    async def classify(self, texts: Sequence[str]) -> list[Prediction]:
        """Probabilities for each text, in the order given; the same for a text whatever else is computed.

        Cancelling the call drops the texts that are not yet being computed.

        Raises:
            Overloaded: if the texts do not fit in the queue; nothing of the request is computed then.
            ShuttingDown: once :meth:`close` was called.
            Internal: if the model failed; the log has why.
        """
        if not texts:
            return []
        encodings = await self._encode(texts)
        request = self._admit(encodings)
        try:
            await request.done
        finally:
            with self._changed:
                self._queue.cancel(request)
            self._unanswered.discard(request)
        return [
            Prediction(row, len(encoding.ids), encoding.truncated)
            for encoding, row in zip(encodings, request.rows.tolist(), strict=True)
        ]

    async def close(self, seconds: float) -> bool:
        """Take no new work, answer what was accepted, and end the workers.

        Args:
            seconds: how long to wait; what is not answered by then fails with :class:`ShuttingDown`.

        Returns:
            Whether everything accepted was answered.
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
                # A worker that is late computes its last batch; it is a daemon and ends with the process.
                worker.join(max(0.0, deadline - time.monotonic()) + 0.1)

    async def _encode(self, texts: Sequence[str]) -> list[Encoding]:
        encodings: list[Encoding] = []
        chunk: list[str] = []
        characters = 0
        for text in texts:
            if chunk and (len(chunk) == ENCODE_TEXTS or characters + len(text) > ENCODE_CHARACTERS):
                encodings += self._classifier.encode(chunk)
                chunk, characters = [], 0
                await asyncio.sleep(0)
            chunk.append(text)
            characters += len(text)
        return encodings + self._classifier.encode(chunk)

    def _admit(self, encodings: list[Encoding]) -> _Request:
        loop = asyncio.get_running_loop()
        request = _Request(
            encodings,
            loop=loop,
            done=loop.create_future(),
            arrived=time.perf_counter(),
            rows=np.empty((len(encodings), len(self._classifier.spec.labels)), dtype=np.float32),
            missing=len(encodings),
        )
        tokens = sum(len(encoding.ids) for encoding in encodings)
        with self._changed:
            if self._stopping:
                raise ShuttingDown("the service is stopping and takes no new work")
            waiting = self._queue.tokens
            if waiting and waiting + tokens > self._max_waiting_tokens:
                raise Overloaded(
                    f"{waiting} tokens are waiting, {self._max_waiting_tokens} may; come back later",
                    retry_after=self._seconds_for(waiting),
                )
            self._queue.add(request)
            self._unanswered.add(request)
            self._metrics.waiting_tokens.set(self._queue.tokens)
            self._changed.notify(min(len(encodings), len(self._workers)))
        return request

    def _seconds_for(self, tokens: int) -> float:
        return tokens / self._tokens_per_second if self._tokens_per_second else 1.0

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._stopping:
                    self._changed.wait()
                batch = self._queue.take()
                self._metrics.waiting_tokens.set(self._queue.tokens)
                if not batch:
                    if self._stopping:
                        return
                    continue
            self._compute(batch)

    def _compute(self, batch: list[Text[_Request]]) -> None:
        started = time.perf_counter()
        try:
            rows = self._classifier.predict([text.encoding for text in batch])
            self._observe(batch, started)
        except Exception:
            logger.exception("inference failed on a batch of %d texts", len(batch))
            self._deliver(batch, None)
        else:
            self._deliver(batch, rows)

    def _observe(self, batch: list[Text[_Request]], started: float) -> None:
        seconds = time.perf_counter() - started
        lengths = [len(text.encoding.ids) for text in batch]
        rate = sum(lengths) / seconds * len(self._workers)
        self._tokens_per_second += RATE_WEIGHT * (rate - self._tokens_per_second) if self._tokens_per_second else rate
        self._metrics.observe_batch(lengths, seconds, [started - text.work.arrived for text in batch])

    def _deliver(self, batch: list[Text[_Request]], rows: npt.NDArray[np.float32] | None) -> None:
        """Hand the rows to their requests, on the thread of each request's event loop."""
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Text[_Request], npt.NDArray[np.float32] | None]]] = {}
        for place, text in enumerate(batch):
            row = None if rows is None else rows[place]
            by_loop.setdefault(text.work.loop, []).append((text, row))
        for loop, results in by_loop.items():
            # Nobody waits any more where the event loop has ended.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_receive, results)


def _receive(results: list[tuple[Text[_Request], npt.NDArray[np.float32] | None]]) -> None:
    for text, row in results:
        request = text.work
        if row is None:
            _finish(request, Internal("the model failed on this request; the server's log says why"))
            continue
        request.rows[text.place] = row
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
