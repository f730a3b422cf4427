from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import cast

import numpy as np
import numpy.typing as npt
import pytest
from prometheus_client import CollectorRegistry

from textserve.classifier import Classifier, Encoding, Truncation, softmax
from textserve.errors import DeadlineExceeded, InputTooLong, Internal, Overloaded, ShuttingDown
from textserve.metrics import RunnerMetrics
from textserve.runner import Prediction, Runner
from textserve.settings import Settings

PATIENCE = 20.0  # seconds after which a test that waits for something fails


class FakeClassifier:
    """Reads a text such as ``17 xxx`` as one token a character, and answers with its number: here ``[17, -17]``.

    While ``gate`` is not set, predictions wait for it. A batch with the text ``broken`` in it fails.
    """

    spec = SimpleNamespace(labels=["same", "negated"], meanings=["same", "negated"])

    def __init__(self, *, pads: bool = True) -> None:
        self.pads = pads
        self.encoded: list[list[str]] = []
        self.truncations: list[Truncation] = []
        self.batches: list[list[int]] = []
        self.lengths: list[list[int]] = []
        self.broken: int | None = None
        self.gate = threading.Event()
        self.gate.set()

    @property
    def seen(self) -> list[int]:
        """The numbers of all texts that a prediction was asked for."""
        return [number for batch in self.batches for number in batch]

    def encode(self, texts: Sequence[str], truncation: Truncation = "right") -> list[Encoding]:
        self.encoded.append(list(texts))
        self.truncations.append(truncation)
        return [
            Encoding([int(text.split()[0]), *[0] * (len(text) - 1)], truncated=text.endswith("…")) for text in texts
        ]

    def logits(self, encodings: Sequence[Encoding]) -> npt.NDArray[np.float32]:
        numbers = [encoding.ids[0] for encoding in encodings]
        self.lengths.append([len(encoding.ids) for encoding in encodings])
        self.batches.append(numbers)
        assert self.gate.wait(PATIENCE)
        if self.broken in numbers:
            raise RuntimeError("the graph has failed")
        return np.array([[number, -number] for number in numbers], dtype=np.float32)


class Service:
    """A started runner on a fake classifier, with what a test may look at."""

    def __init__(self, classifier: FakeClassifier, settings: Settings) -> None:
        self.classifier = classifier
        self.registry = CollectorRegistry()
        self.runner = Runner(cast(Classifier, classifier), settings, RunnerMetrics(self.registry))
        self.runner.start()

    def waiting_tokens(self) -> float | None:
        return self.registry.get_sample_value("textserve_waiting_tokens")

    def dropped(self, reason: str) -> float | None:
        return self.registry.get_sample_value("textserve_dropped_texts_total", {"reason": reason})

    async def classify(self, texts: Sequence[str]) -> list[Prediction]:
        return (await self.runner.classify(texts, PATIENCE)).predictions

    def ask(self, *texts: str) -> asyncio.Task[list[Prediction]]:
        return asyncio.create_task(self.classify(texts))

    async def ask_and_have_waiting(self, *texts: str) -> asyncio.Task[list[Prediction]]:
        """Ask while no worker is free, and return once the texts are in the queue."""
        tokens = (self.waiting_tokens() or 0) + sum(map(len, texts))
        task = self.ask(*texts)
        await until(lambda: self.waiting_tokens() == tokens)
        return task

    async def occupy(self) -> asyncio.Task[list[Prediction]]:
        """Have the only worker compute a text until the gate is opened."""
        self.classifier.gate.clear()
        task = self.ask("0")
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
    """What the fake classifier's logits for a text of that number are after softmax."""
    row: list[float] = softmax(np.array([number, -number], dtype=np.float32)).tolist()
    return row


def numbers(predictions: Sequence[Prediction]) -> list[float]:
    return [prediction.logits[0] for prediction in predictions]


@pytest.mark.parametrize("truncation", ["right", "left"])
def test_a_long_text_is_cut_off_on_the_side_asked(truncation: Truncation) -> None:
    async def run() -> None:
        async with served(FakeClassifier()) as service:
            await service.runner.classify(["1", "2 long…"], PATIENCE, truncation)
            assert service.classifier.truncations == [truncation]

    asyncio.run(run())


def test_a_long_text_is_refused_by_its_place_where_none_may_be_cut_off() -> None:
    async def run() -> None:
        async with served(FakeClassifier()) as service:
            with pytest.raises(InputTooLong) as refusal:
                await service.runner.classify(["1", "2 long…"], PATIENCE, None)
            assert refusal.value.where == "texts[1]"
            assert service.classifier.seen == []
            assert len((await service.runner.classify(["1", "2"], PATIENCE, None)).predictions) == 2

    asyncio.run(run())


def test_every_caller_gets_the_answers_to_his_texts_in_his_order() -> None:
    async def run() -> None:
        async with served(FakeClassifier(), threads=3, max_batch_texts=4) as service:
            callers = [range(100 * caller, 100 * caller + 50) for caller in range(8)]
            answers = await asyncio.gather(
                *(service.classify([f"{number} {'x' * (number % 13)}" for number in some]) for some in callers)
            )
            assert [numbers(answer) for answer in answers] == [list(some) for some in callers]

    asyncio.run(run())


def test_an_answer_has_a_probability_a_label_and_says_what_was_read() -> None:
    async def run() -> None:
        async with served(FakeClassifier()) as service:
            assert await service.classify(["3 xx", "4 long…"]) == [
                Prediction(
                    FakeClassifier.spec.meanings, probabilities(3), tokens=4, truncated=False, logits=[3.0, -3.0]
                ),
                Prediction(
                    FakeClassifier.spec.meanings, probabilities(4), tokens=7, truncated=True, logits=[4.0, -4.0]
                ),
            ]

    asyncio.run(run())


def test_texts_of_different_callers_share_a_batch() -> None:
    async def run() -> None:
        async with served(FakeClassifier()) as service:
            await service.occupy()
            callers = [await service.ask_and_have_waiting(f"{number} xx") for number in (1, 2, 3, 4)]
            service.classifier.gate.set()
            assert [numbers(await caller) for caller in callers] == [[1], [2], [3], [4]]
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


def test_a_long_request_gives_way_to_others_while_it_is_encoded() -> None:
    async def run() -> None:
        async with served(FakeClassifier()) as service:
            long = service.ask(*[str(number) for number in range(1, 1001)])
            single = service.ask("1001")
            assert numbers(await single) == [1001]
            assert numbers(await long) == list(range(1, 1001))
            place = service.classifier.encoded.index(["1001"])
            assert place < len(service.classifier.encoded) - 1

    asyncio.run(run())


def test_beyond_the_waiting_limit_a_request_is_refused_whole_and_told_when_to_come_back() -> None:
    async def run() -> None:
        async with served(FakeClassifier(), max_waiting_tokens=10) as service:
            first = await service.occupy()
            fits = await service.ask_and_have_waiting("1 xxxxxx")
            with pytest.raises(Overloaded) as refusal:
                await service.classify(["2", "3 x"])
            assert refusal.value.retry_after is not None
            assert refusal.value.retry_after > 0
            also_fits = await service.ask_and_have_waiting("4 ")
            service.classifier.gate.set()
            assert [numbers(await task) for task in (first, fits, also_fits)] == [[0], [1], [4]]
            assert sorted(service.classifier.seen) == [0, 1, 4]

    asyncio.run(run())


def test_a_queue_longer_than_the_time_allowed_refuses_before_any_text_is_tokenized() -> None:
    async def run() -> None:
        async with served(FakeClassifier(), max_queue_seconds=0.01) as service:
            first = await service.occupy()
            fits = await service.ask_and_have_waiting("1".ljust(60))
            encoded = len(service.classifier.encoded)
            with pytest.raises(Overloaded) as refusal:
                await service.classify(["3"])
            assert refusal.value.retry_after == pytest.approx(60 / 5000)
            assert len(service.classifier.encoded) == encoded
            service.classifier.gate.set()
            assert [numbers(await task) for task in (first, fits)] == [[0], [1]]

    asyncio.run(run())


def test_a_large_request_that_waits_leaves_room_for_small_ones() -> None:
    async def run() -> None:
        async with served(FakeClassifier(), max_queue_seconds=0.3, max_batch_tokens=100) as service:
            await service.occupy()
            large = await service.ask_and_have_waiting(*[f"{number}".ljust(40) for number in range(1, 201)])
            small = await service.ask_and_have_waiting("201")
            service.classifier.gate.set()
            assert numbers(await small) == [201]
            assert numbers(await large) == list(range(1, 201))
            assert service.classifier.seen.index(201) < 10

    asyncio.run(run())


def test_a_request_whose_time_is_up_is_told_so_and_not_computed() -> None:
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
            cancelled = await service.ask_and_have_waiting("1", "2", "3")
            other = await service.ask_and_have_waiting("4")
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            service.classifier.gate.set()
            assert numbers(await other) == [4]
            assert service.classifier.seen == [0, 4]
            assert service.waiting_tokens() == 0
            assert service.dropped("cancelled") == 3

    asyncio.run(run())


def test_cancelling_a_call_while_it_is_computed_harms_nobody_else() -> None:
    async def run() -> None:
        async with served(FakeClassifier()) as service:
            computed = await service.occupy()
            other = await service.ask_and_have_waiting("1")
            computed.cancel()
            with pytest.raises(asyncio.CancelledError):
                await computed
            service.classifier.gate.set()
            assert numbers(await other) == [1]

    asyncio.run(run())


def test_a_failed_batch_fails_for_its_callers_only() -> None:
    async def run() -> None:
        async with served(FakeClassifier()) as service:
            service.classifier.broken = 1
            await service.occupy()
            broken = await service.ask_and_have_waiting("1 x", "5 xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx")
            beside = await service.ask_and_have_waiting("2 x")
            apart = await service.ask_and_have_waiting("3 xxxxxxxxxxxxxxx")
            service.classifier.gate.set()
            for task in (broken, beside):
                with pytest.raises(Internal):
                    await task
            assert numbers(await apart) == [3]
            assert numbers(await service.classify(["4 x"])) == [4]

    asyncio.run(run())


def test_closing_answers_what_was_accepted_and_refuses_what_comes_after() -> None:
    async def run() -> None:
        async with served(FakeClassifier()) as service:
            computed = await service.occupy()
            waiting = await service.ask_and_have_waiting("1", "2 xxxxxxxxxxxxx")
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


def test_closing_an_idle_runner_ends_its_threads() -> None:
    before = set(threading.enumerate())

    async def run() -> None:
        async with served(FakeClassifier(), threads=3) as service:
            assert len(started(before)) == 3
            assert await service.runner.close(PATIENCE)
            assert started(before) == []

    asyncio.run(run())


def test_closing_with_too_little_time_fails_what_is_unanswered() -> None:
    before = set(threading.enumerate())

    async def run() -> None:
        async with served(FakeClassifier()) as service:
            computed = await service.occupy()
            waiting = await service.ask_and_have_waiting("1", "2")
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


def test_an_answer_says_where_its_time_went() -> None:
    async def run() -> None:
        async with served(FakeClassifier()) as service:
            await service.occupy()
            waiting = asyncio.create_task(service.runner.classify(["1 xx", "2"], PATIENCE))
            await until(lambda: service.waiting_tokens() == 5)
            await asyncio.sleep(0.02)
            service.classifier.gate.set()
            classified = await waiting
            assert classified.tokens == 5
            assert 0 <= classified.tokenization_seconds < 0.02
            assert 0.02 <= classified.queue_seconds < PATIENCE
            assert 0 < classified.inference_seconds < PATIENCE

    asyncio.run(run())


def test_what_was_computed_and_what_waits_is_counted() -> None:
    async def run() -> None:
        async with served(FakeClassifier()) as service:
            await service.occupy()
            await service.ask_and_have_waiting("1".ljust(40), "2".ljust(41))
            last = await service.ask_and_have_waiting("3 xxx")
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
