from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from tests.asgi import SPEC
from textserve.batching import BatchQueue, Text
from textserve.classifier import Classifier, Encoding, Truncation, batch_feeds, softmax
from textserve.errors import DeadlineExceeded, InputTooLong, Internal, Overloaded, RequestTooLarge, ShuttingDown
from textserve.metrics import RunnerMetrics
from textserve.prediction import Prediction
from textserve.runner import MAX_FAILURES, SPREAD_TOKENS, Runner
from textserve.settings import Settings
from textserve.spec import ModelSpec

SIDES: tuple[Truncation, ...] = ("right", "left")
PATIENCE = 60.0  # seconds after which a test that waits for an event fails


class FakeClassifier:
    """Reads a text such as ``17 xxx`` as one token per character, with its number as logits: here ``[17, -17]``.

    Predictions wait while ``gate`` is not set. A batch with the number ``broken`` raises ``error``; the logits of the
    number ``infinite`` are not finite.
    """

    spec = SimpleNamespace(
        labels=["same", "negated"], activation="softmax", tokenization=SimpleNamespace(max_tokens=512)
    )

    def __init__(self, *, pads: bool = True) -> None:
        self.pads = pads
        self.encoded: list[list[str]] = []
        self.truncations: list[Truncation] = []
        self.batches: list[list[int]] = []
        self.lengths: list[list[int]] = []
        self.spread: list[bool] = []
        self.broken: int | None = None
        self.error: BaseException = RuntimeError("the graph has failed")
        self.infinite: int | None = None
        self.gate = threading.Event()
        self.gate.set()

    @property
    def seen(self) -> list[int]:
        """The numbers of all computed texts."""
        return [number for batch in self.batches for number in batch]

    def encode(self, texts: Sequence[str], truncation: Truncation = "right") -> list[Encoding]:
        self.encoded.append(list(texts))
        self.truncations.append(truncation)
        return [
            Encoding([int(text.split()[0]), *[0] * (len(text) - 1)], truncated=text.endswith("…")) for text in texts
        ]

    def can_spread(self) -> bool:
        return True

    def logits(self, encodings: Sequence[Encoding], *, spread: bool = False) -> npt.NDArray[np.float32]:
        self.spread.append(spread)
        numbers = [encoding.ids[0] for encoding in encodings]
        self.lengths.append([len(encoding.ids) for encoding in encodings])
        self.batches.append(numbers)
        assert self.gate.wait(PATIENCE)
        if self.broken in numbers:
            raise self.error
        logits = np.array([[number, -number] for number in numbers], dtype=np.float32)
        logits[[number == self.infinite for number in numbers]] = [np.nan, np.inf]
        return logits


class Service:
    """A started runner with a fake classifier, and its metrics."""

    def __init__(self, classifier: FakeClassifier, settings: Settings) -> None:
        self.classifier = classifier
        self.registry = CollectorRegistry()
        self.runner = Runner(cast(Classifier, classifier), settings, RunnerMetrics(self.registry))
        self.runner.start()

    def waiting_tokens(self) -> float | None:
        return self.registry.get_sample_value("textserve_waiting_tokens")

    def dropped(self, reason: str) -> float | None:
        return self.registry.get_sample_value("textserve_dropped_texts_total", {"reason": reason})

    def failed(self, reason: str) -> float | None:
        return self.registry.get_sample_value("textserve_failed_batches_total", {"reason": reason})

    async def classify(self, texts: Sequence[str]) -> list[Prediction]:
        return (await self.runner.classify(texts, PATIENCE)).predictions

    def send(self, *texts: str) -> asyncio.Task[list[Prediction]]:
        return asyncio.create_task(self.classify(texts))

    async def enqueue(self, *texts: str) -> asyncio.Task[list[Prediction]]:
        """Send a request while no worker is free, and return when its texts are in the queue."""
        tokens = (self.waiting_tokens() or 0) + sum(map(len, texts))
        task = self.send(*texts)
        await until(lambda: self.waiting_tokens() == tokens)
        return task

    async def occupy(self) -> asyncio.Task[list[Prediction]]:
        """Keep the only worker busy until the gate is opened."""
        self.classifier.gate.clear()
        task = self.send("0")
        await until(lambda: self.classifier.seen[-1:] == [0])
        return task


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0)


@asynccontextmanager
async def served(classifier: FakeClassifier, **settings: float) -> AsyncIterator[Service]:
    service = Service(classifier, Settings.model_validate({"threads": 1} | settings))
    try:
        yield service
    finally:
        classifier.gate.set()
        await service.runner.close(PATIENCE)


def probabilities(number: int) -> list[float]:
    """The probabilities of the text with this number."""
    row: list[float] = softmax(np.array([number, -number], dtype=np.float32)).tolist()
    return row


def numbers(predictions: Sequence[Prediction]) -> list[float]:
    return [prediction.logits[0] for prediction in predictions]


def test_a_long_text_is_truncated_on_the_requested_side_or_rejected_by_its_index() -> None:
    async def run() -> None:
        async with served(FakeClassifier()) as service:
            for truncation in SIDES:
                await service.runner.classify(["1", "2 long…"], PATIENCE, truncation)
            assert service.classifier.truncations == [*SIDES]
            service.classifier.batches.clear()
            with pytest.raises(InputTooLong) as error:
                await service.runner.classify(["1", "2 long…"], PATIENCE, None)
            assert error.value.where == "texts[1]"
            assert service.classifier.seen == []
            assert len((await service.runner.classify(["1", "2"], PATIENCE, None)).predictions) == 2

    asyncio.run(run())


def test_concurrent_requests_get_their_own_results_in_order() -> None:
    async def run() -> None:
        async with served(FakeClassifier(), threads=3, max_batch_texts=4) as service:
            requests = [range(first, first + 50) for first in range(0, 800, 100)]
            results = await asyncio.gather(
                *(service.classify([f"{number} {'x' * (number % 13)}" for number in request]) for request in requests)
            )
            assert [numbers(result) for result in results] == [list(request) for request in requests]

    asyncio.run(run())


def test_a_prediction_has_spec_scores_logits_tokens_and_truncation() -> None:
    spec: Any = FakeClassifier.spec

    async def run() -> None:
        async with served(FakeClassifier()) as service:
            assert await service.classify(["3 xx", "4 long…"]) == [
                Prediction(spec, probabilities(3), tokens=4, truncated=False, logits=[3.0, -3.0]),
                Prediction(spec, probabilities(4), tokens=7, truncated=True, logits=[4.0, -4.0]),
            ]

    asyncio.run(run())


def test_a_prediction_has_the_label_of_the_highest_score_and_of_a_tie_the_first() -> None:
    for row, label, ranked in [
        ([0.2, 0.5, 0.3], "neutral", ["neutral", "positive", "negative"]),
        ([0.4, 0.2, 0.4], "negative", ["negative", "positive", "neutral"]),
    ]:
        prediction = Prediction(SPEC, row, tokens=3, truncated=False)
        assert (prediction.label, prediction.score) == (label, max(row))
        assert [name for name, _ in prediction.ranked()] == ranked
        assert prediction.ranked([1.0, 2.0, 3.0])[0] == ("positive", 3.0)


def test_texts_of_different_requests_share_a_batch() -> None:
    async def run() -> None:
        async with served(FakeClassifier()) as service:
            await service.occupy()
            requests = [await service.enqueue(f"{number} xx") for number in (1, 2, 3, 4)]
            service.classifier.gate.set()
            assert [numbers(await request) for request in requests] == [[1], [2], [3], [4]]
            assert service.classifier.batches == [[0], [1, 2, 3, 4]]

    asyncio.run(run())


def test_batches_keep_to_the_limits_of_the_settings() -> None:
    async def run() -> None:
        async with served(FakeClassifier(), max_batch_texts=4, max_batch_tokens=30) as service:
            await service.classify([f"{number} {'x' * (number % 10)}" for number in range(100)])
            assert len(service.classifier.seen) == 100
            assert max(map(len, service.classifier.lengths)) == 4
            assert all(len(lengths) * max(lengths) <= 30 for lengths in service.classifier.lengths)

    asyncio.run(run())


@pytest.mark.parametrize(("pads", "batches"), [(True, 1), (False, 2)])
def test_texts_of_unequal_length_share_a_batch_only_if_the_graph_can_hide_padding(pads: bool, batches: int) -> None:
    async def run() -> None:
        async with served(FakeClassifier(pads=pads)) as service:
            await service.classify(["1".ljust(40), "2".ljust(41)])
            assert len(service.classifier.batches) == batches

    asyncio.run(run())


def test_a_request_beyond_the_waiting_limit_is_rejected_whole_with_when_to_retry() -> None:
    async def run() -> None:
        async with served(FakeClassifier(), max_waiting_tokens=10) as service:
            first = await service.occupy()
            fits = await service.enqueue("1 xxxxxx")
            with pytest.raises(Overloaded) as error:
                await service.classify(["2", "3 x"])
            assert error.value.retry_after is not None
            assert error.value.retry_after > 0
            also_fits = await service.enqueue("4 ")
            service.classifier.gate.set()
            assert [numbers(await task) for task in (first, fits, also_fits)] == [[0], [1], [4]]
            assert sorted(service.classifier.seen) == [0, 1, 4]

    asyncio.run(run())


def test_a_queue_beyond_the_time_limit_rejects_before_tokenizing() -> None:
    async def run() -> None:
        async with served(FakeClassifier(), max_queue_seconds=0.01) as service:
            first = await service.occupy()
            fits = await service.enqueue("1".ljust(60))
            encoded = len(service.classifier.encoded)
            with pytest.raises(Overloaded) as error:
                await service.classify(["3"])
            # 60 tokens that wait, and the token that is computed.
            assert error.value.retry_after == pytest.approx(61 / 5000)
            assert len(service.classifier.encoded) == encoded
            service.classifier.gate.set()
            assert [numbers(await task) for task in (first, fits)] == [[0], [1]]

    asyncio.run(run())


def test_the_batch_being_computed_is_ahead_of_a_request_too_but_an_empty_queue_admits_any() -> None:
    async def run() -> None:
        async with served(FakeClassifier(), max_queue_seconds=0.01) as service:
            service.classifier.gate.clear()
            large = service.send("1".ljust(100))
            await until(lambda: service.classifier.seen == [1])
            fits = await service.enqueue("2")
            with pytest.raises(Overloaded, match=r"0\.0 s long, the limit is 0\.01 s"):
                await service.classify(["3"])
            service.classifier.gate.set()
            assert [numbers(await task) for task in (large, fits)] == [[1], [2]]

    asyncio.run(run())


def test_a_long_text_on_one_thread_refuses_nothing_while_another_thread_is_nearly_done() -> None:
    async def run() -> None:
        async with served(FakeClassifier(), threads=2, max_queue_seconds=0.01) as service:
            service.classifier.gate.clear()
            sent = [service.send("1".ljust(100)), service.send("2")]
            await until(lambda: sorted(service.classifier.seen) == [1, 2])
            sent += [await service.enqueue("3"), await service.enqueue("4")]
            service.classifier.gate.set()
            assert [numbers(await task) for task in sent] == [[1], [2], [3], [4]]

    asyncio.run(run())


class SlowClassifier(FakeClassifier):
    """Takes a fifth of a second of the processor for each batch, and tells the event loop when one is computed.

    Its graph reads token types.
    """

    def __init__(self, max_tokens: int) -> None:
        super().__init__()
        tokenization = SimpleNamespace(max_tokens=max_tokens, padding_side="right", pad_id=0)
        graph = SimpleNamespace(input_ids="ids", attention_mask="mask", token_type_ids="types")  # noqa: S106  # no password
        self.spec = SimpleNamespace(**{**vars(self.spec), "tokenization": tokenization, "graph": graph})
        self.loop = asyncio.get_running_loop()
        self.measured = asyncio.Event()

    def encode(self, texts: Sequence[str], truncation: Truncation = "right") -> list[Encoding]:
        encodings = super().encode(texts, truncation)
        return [replace(encoding, type_ids=[0] * len(encoding.ids)) for encoding in encodings]

    def logits(self, encodings: Sequence[Encoding], *, spread: bool = False) -> npt.NDArray[np.float32]:
        try:
            batch_feeds(cast(ModelSpec, self.spec), encodings)
            ends = time.thread_time() + 0.2
            while time.thread_time() < ends:
                pass
            return super().logits(encodings, spread=spread)
        finally:
            self.loop.call_soon_threadsafe(self.measured.set)


@pytest.mark.parametrize(
    ("max_tokens", "max_batch_tokens", "length"), [(512, 512, 512), (64, 512, 64), (8192, 65_536, 512), (512, 2, 2)]
)
def test_the_speed_of_a_long_text_is_measured_before_the_first_batch(
    max_tokens: int, max_batch_tokens: int, length: int
) -> None:
    async def run() -> None:
        slow = SlowClassifier(max_tokens)
        settings = Settings(threads=1, max_batch_tokens=max_batch_tokens)
        runner = Runner(cast(Classifier, slow), settings, RunnerMetrics(CollectorRegistry()))
        runner.start(sample="7 xx")
        await slow.measured.wait()
        # By the speed that is assumed until then, it would not be.
        with pytest.raises(RequestTooLarge):
            await runner.classify(["1".ljust(512)] * 250, PATIENCE)
        assert slow.lengths == [[length]]
        await runner.close(PATIENCE)

    asyncio.run(run())


def test_a_waiting_large_request_leaves_room_for_small_ones() -> None:
    async def run() -> None:
        async with served(FakeClassifier(), max_queue_seconds=0.3, max_batch_tokens=100) as service:
            await service.occupy()
            large = await service.enqueue(*[f"{number}".ljust(40) for number in range(1, 201)])
            small = await service.enqueue("201")
            service.classifier.gate.set()
            assert numbers(await small) == [201]
            assert numbers(await large) == list(range(1, 201))
            assert service.classifier.seen.index(201) < 10

    asyncio.run(run())


def test_a_request_beyond_its_deadline_fails_and_is_not_computed() -> None:
    async def run() -> None:
        async with served(FakeClassifier()) as service:
            first = await service.occupy()
            with pytest.raises(DeadlineExceeded):
                await service.runner.classify(["1", "2 xx"], 0.01)
            assert service.waiting_tokens() == 0
            assert service.dropped("deadline") == 2
            service.classifier.gate.set()
            assert numbers(await first) == [0]
            assert numbers(await service.classify(["3"])) == [3]
            assert service.classifier.seen == [0, 3]

    asyncio.run(run())


def test_an_idle_runner_accepts_a_request_beyond_the_waiting_limit() -> None:
    async def run() -> None:
        async with served(FakeClassifier(), max_waiting_tokens=10) as service:
            answers = await service.classify([f"{number} xxxxxxxx" for number in range(1, 31)])
            assert numbers(answers) == list(range(1, 31))

    asyncio.run(run())


def test_a_cancelled_call_is_not_computed() -> None:
    async def run() -> None:
        async with served(FakeClassifier()) as service:
            await service.occupy()
            cancelled = await service.enqueue("1", "2", "3")
            other = await service.enqueue("4")
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            service.classifier.gate.set()
            assert numbers(await other) == [4]
            assert service.classifier.seen == [0, 4]
            assert service.waiting_tokens() == 0
            assert service.dropped("cancelled") == 3

    asyncio.run(run())


def test_cancelling_a_call_while_it_is_computed_does_not_affect_others() -> None:
    async def run() -> None:
        async with served(FakeClassifier()) as service:
            computed = await service.occupy()
            other = await service.enqueue("1")
            computed.cancel()
            with pytest.raises(asyncio.CancelledError):
                await computed
            service.classifier.gate.set()
            assert numbers(await other) == [1]

    asyncio.run(run())


def test_a_failed_batch_fails_only_its_requests() -> None:
    async def run() -> None:
        async with served(FakeClassifier()) as service:
            service.classifier.broken = 1
            await service.occupy()
            broken = await service.enqueue("1 x", "5 xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx")
            beside = await service.enqueue("2 x")
            apart = await service.enqueue("3 xxxxxxxxxxxxxxx")
            service.classifier.gate.set()
            for task in (broken, beside):
                with pytest.raises(Internal):
                    await task
            assert numbers(await apart) == [3]
            assert numbers(await service.classify(["4 x"])) == [4]

    asyncio.run(run())


@pytest.mark.parametrize("error", [SystemExit(1), MemoryError(), KeyboardInterrupt()])
def test_a_worker_outlives_any_exception(error: BaseException) -> None:
    async def run() -> None:
        async with served(FakeClassifier()) as service:
            service.classifier.broken, service.classifier.error = 1, error
            with pytest.raises(Internal):
                await service.classify(["1"])
            assert numbers(await service.classify(["2"])) == [2]
            assert service.failed("exception") == 1

    asyncio.run(run())


def test_a_fault_of_the_queue_fails_what_it_holds_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    take = BatchQueue.take

    def broken(queue: BatchQueue[Any], now: float) -> list[Text[Any]]:
        batch = take(queue, now)
        if any(text.encoding.ids[0] == 1 for text in batch):
            raise IndexError("heap")
        return batch

    monkeypatch.setattr(BatchQueue, "take", broken)

    async def run() -> None:
        async with served(FakeClassifier()) as service:
            await service.occupy()
            held = [await service.enqueue(text) for text in ("1", "2 xx".ljust(40))]
            service.classifier.gate.set()
            for request in held:
                with pytest.raises(Internal):
                    await request
            assert numbers(await service.classify(["3"])) == [3]
            assert service.waiting_tokens() == 0

    asyncio.run(run())


def test_an_answer_that_is_not_finite_fails_only_its_text(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        async with served(FakeClassifier()) as service:
            service.classifier.infinite = 1
            await service.occupy()
            broken, beside = await service.enqueue("1 x"), await service.enqueue("2 x")
            service.classifier.gate.set()
            with pytest.raises(Internal):
                await broken
            assert numbers(await beside) == [2]
            assert service.failed("not_finite") == 1
            assert not service.runner.failing

    asyncio.run(run())
    assert "NaN or infinity computed for 1 of 2 texts" in caplog.text


def test_failures_in_a_row_are_noticed_until_a_batch_succeeds() -> None:
    async def run() -> None:
        async with served(FakeClassifier()) as service:
            service.classifier.broken = service.classifier.infinite = 1
            for _ in range(MAX_FAILURES):
                assert not service.runner.failing
                with pytest.raises(Internal):
                    await service.classify(["1"])
            assert service.runner.failing
            await service.classify(["2"])
            assert not service.runner.failing

    asyncio.run(run())


def test_a_metric_that_cannot_be_updated_costs_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with served(FakeClassifier()) as service:
            for metric in (Counter, Gauge, Histogram):
                for method in ("inc", "set", "observe"):
                    monkeypatch.setattr(metric, method, raising, raising=False)
            assert numbers(await service.classify(["2"])) == [2]

    asyncio.run(run())


def raising(*_: object) -> None:
    raise OSError("no space left on device")


def test_closing_answers_accepted_requests_and_rejects_later_ones() -> None:
    async def run() -> None:
        async with served(FakeClassifier()) as service:
            computed = await service.occupy()
            waiting = await service.enqueue("1", "2 xxxxxxxxxxxxx")
            closing = asyncio.create_task(service.runner.close(PATIENCE))
            await asyncio.sleep(0)  # the first step of closing
            with pytest.raises(ShuttingDown):
                await service.classify(["3"])
            service.classifier.gate.set()
            assert await closing
            assert numbers(await computed) == [0]
            assert numbers(await waiting) == [1, 2]
            with pytest.raises(ShuttingDown):
                await service.classify(["4"])
            assert sorted(service.classifier.seen) == [0, 1, 2]

    asyncio.run(run())


def test_closing_an_idle_runner_stops_its_threads() -> None:
    before = set(threading.enumerate())

    async def run() -> None:
        async with served(FakeClassifier(), threads=3) as service:
            assert len(started(before)) == 3
            assert await service.runner.close(PATIENCE)
            assert started(before) == []

    asyncio.run(run())


def test_closing_at_the_time_limit_fails_unanswered_requests() -> None:
    before = set(threading.enumerate())

    async def run() -> None:
        async with served(FakeClassifier()) as service:
            computed = await service.occupy()
            waiting = await service.enqueue("1", "2")
            assert not await service.runner.close(0.01)
            for task in (computed, waiting):
                with pytest.raises(ShuttingDown):
                    await task
            service.classifier.gate.set()
            await until(lambda: started(before) == [])
            assert service.classifier.seen == [0]

    asyncio.run(run())


def started(before: set[threading.Thread]) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread not in before and thread.name.startswith("runner-")]


def test_a_failure_is_logged_without_the_texts(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def run() -> None:
        async with served(FakeClassifier()) as service:
            service.classifier.broken = 1
            with pytest.raises(Internal) as failure:
                await service.classify(["1 tajemnica"])
            assert "tajemnica" not in str(failure.value)

    asyncio.run(run())
    assert "the graph has failed" in caplog.text
    assert "tajemnica" not in caplog.text


def test_a_large_batch_is_spread_over_the_cores_while_nothing_else_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        long = "1".ljust(SPREAD_TOKENS)
        async with served(FakeClassifier(), threads=2) as service:
            halves = ["3".ljust(SPREAD_TOKENS // 2), "4".ljust(SPREAD_TOKENS // 2)]
            for texts in ([long], ["2".ljust(SPREAD_TOKENS - 1)], halves):
                await service.classify(texts)
                await until(lambda: not any(worker.busy for worker in service.runner.workers))
            assert service.classifier.spread == [True, False, True]
            other = await service.occupy()
            late = service.send(long)
            await until(lambda: service.classifier.seen[-1] == 1)
            service.classifier.gate.set()
            await asyncio.gather(other, late)
            assert service.classifier.spread[3:] == [False, False]

    monkeypatch.setattr("textserve.runner.CALM_SECONDS", 0)
    asyncio.run(run())


@pytest.mark.parametrize(("calm", "last"), [(0, True), (1e9, False)])
def test_a_large_batch_is_not_spread_while_texts_wait_nor_soon_after(
    monkeypatch: pytest.MonkeyPatch, calm: float, last: bool
) -> None:
    async def run() -> None:
        async with served(FakeClassifier()) as service:
            first = await service.occupy()
            waiting = [await service.enqueue(f"{number}".ljust(500)) for number in (1, 2)]
            service.classifier.gate.set()
            await asyncio.gather(first, *waiting)
            assert service.classifier.spread == [False, False, last]

    monkeypatch.setattr("textserve.runner.CALM_SECONDS", calm)
    asyncio.run(run())


def test_the_time_in_the_queue_is_measured_until_the_batch_starts() -> None:
    async def run() -> None:
        async with served(FakeClassifier()) as service:
            await service.occupy()
            waiting = asyncio.create_task(service.runner.classify(["1 xx", "2"], PATIENCE))
            await until(lambda: service.waiting_tokens() == 5)
            queued = time.perf_counter()
            while time.perf_counter() - queued < 0.02:
                await asyncio.sleep(0)
            service.classifier.gate.set()
            classified = await waiting
            assert classified.tokens == 5
            assert classified.tokenization_seconds >= 0
            assert classified.queue_seconds >= 0.02
            assert classified.inference_seconds > 0

    asyncio.run(run())


def test_equal_texts_that_wait_are_computed_once() -> None:
    async def run() -> None:
        classifier = FakeClassifier()
        async with served(classifier) as service:
            first = await service.occupy()
            tasks = [await service.enqueue("7 x", "8 x", "7 x"), await service.enqueue("7 x")]
            classifier.gate.set()
            assert [numbers(await task) for task in tasks] == [[7, 8, 7], [7]]
            await first
            assert sorted(classifier.seen) == [0, 7, 8]
            name, labels = "textserve_repeated_texts_total", {"answered_by": "batch"}
            assert service.registry.get_sample_value(name, labels) == 2
            assert service.registry.get_sample_value("textserve_texts_total") == 3

    asyncio.run(run())


def test_an_equal_text_that_waits_is_answered_though_the_first_was_cancelled() -> None:
    async def run() -> None:
        classifier = FakeClassifier()
        async with served(classifier) as service:
            first = await service.occupy()
            cancelled, kept = await service.enqueue("7 x"), await service.enqueue("7 x")
            cancelled.cancel()
            await until(lambda: service.dropped("cancelled") == 1)
            classifier.gate.set()
            assert numbers(await kept) == [7]
            await first

    asyncio.run(run())


@pytest.mark.parametrize("fault", ["infinite", "broken"])
def test_a_failed_or_infinite_answer_fails_every_equal_text_and_is_not_kept(fault: str) -> None:
    async def run() -> None:
        classifier = FakeClassifier()
        async with served(classifier, cache_megabytes=1) as service:
            first = await service.occupy()
            tasks = [await service.enqueue("7 x") for _ in range(2)]
            setattr(classifier, fault, 7)
            classifier.gate.set()
            for task in tasks:
                with pytest.raises(Internal):
                    await task
            setattr(classifier, fault, None)
            await first
            assert numbers(await service.classify(["7 x"])) == [7]

    asyncio.run(run())


def test_a_cached_answer_is_the_computed_one_to_the_last_bit_and_costs_no_batch() -> None:
    async def run() -> None:
        classifier = FakeClassifier()
        async with served(classifier, cache_megabytes=1) as service:
            computed = await service.classify(["7 x", "8 xx"])
            cached = await service.classify(["8 xx", "9 x", "7 x", "7 x"])
            assert [prediction.scores for prediction in cached[:3:2]] == [
                prediction.scores for prediction in computed[::-1]
            ]
            assert numbers(cached) == [8, 9, 7, 7]
            assert [prediction.tokens for prediction in cached] == [4, 3, 3, 3]
            assert classifier.seen == [7, 8, 9]
            batches = len(classifier.batches)
            again = await service.runner.classify(["9 x"], PATIENCE)
            assert numbers(again.predictions) == [9]
            assert again.queue_seconds == 0
            assert len(classifier.batches) == batches
            name, labels = "textserve_repeated_texts_total", {"answered_by": "cache"}
            assert service.registry.get_sample_value(name, labels) == 4
            assert service.registry.get_sample_value("textserve_cache_bytes")

    asyncio.run(run())


def test_without_the_setting_nothing_is_kept() -> None:
    async def run() -> None:
        classifier = FakeClassifier()
        async with served(classifier) as service:
            for _ in range(2):
                await service.classify(["7 x"])
            assert classifier.seen == [7, 7]

    asyncio.run(run())


def test_computed_and_waiting_texts_are_counted() -> None:
    async def run() -> None:
        async with served(FakeClassifier()) as service:
            await service.occupy()
            await service.enqueue("1".ljust(40), "2".ljust(41))
            last = await service.enqueue("3 xxx")
            service.classifier.gate.set()
            await last
            value = service.registry.get_sample_value
            assert value("textserve_waiting_tokens") == 0
            assert value("textserve_texts_total") == 4
            assert value("textserve_tokens_total") == 1 + 40 + 41 + 5
            assert value("textserve_padding_tokens_total") == 1
            assert value("textserve_batch_texts_count") == 3
            assert value("textserve_queue_seconds_count") == 4
            assert value("textserve_inference_seconds_count") == 3

    asyncio.run(run())
