from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from sentiment.batching import BatchLimits, BatchQueue, Text, Work
from sentiment.classifier import Encoding

LENGTHS = st.integers(min_value=1, max_value=60)
REQUESTS = st.lists(st.lists(LENGTHS, min_size=1, max_size=12), min_size=1, max_size=12)
LIMITS = st.builds(
    BatchLimits,
    texts=st.integers(min_value=1, max_value=8),
    tokens=st.integers(min_value=1, max_value=200),
    spread=st.sampled_from((0.0, 0.1, 0.3, 1.0)),
)


def request(*lengths: int) -> Work:
    return Work([Encoding([0] * length, truncated=False) for length in lengths])


def lengths_of(batch: Sequence[Text[Work]]) -> list[int]:
    return [len(text.encoding.ids) for text in batch]


def identity(text: Text[Work]) -> tuple[int, int]:
    return id(text.work), text.place


def drained(queue: BatchQueue[Work]) -> list[list[Text[Work]]]:
    batches = []
    while batch := queue.take():
        batches.append(batch)
    return batches


class AnyOrderOfCalls(RuleBasedStateMachine):
    """Requests that arrive, are cancelled and are taken in any order, against a list of what must happen."""

    works = Bundle("works")

    def __init__(self) -> None:
        super().__init__()
        self.waiting: dict[tuple[int, int], int] = {}
        self.kept: list[Work] = []  # so that no id is used twice
        self.last_turn = -1

    @initialize(limits=LIMITS)
    def begin(self, limits: BatchLimits) -> None:
        self.limits = limits
        self.queue: BatchQueue[Work] = BatchQueue(limits)

    @rule(target=works, lengths=st.lists(LENGTHS, min_size=1, max_size=12))
    def add(self, lengths: list[int]) -> Work:
        work = request(*lengths)
        self.kept.append(work)
        self.queue.add(work)
        self.waiting |= {(id(work), place): length for place, length in enumerate(lengths)}
        return work

    @rule(work=works)
    def cancel(self, work: Work) -> None:
        self.queue.cancel(work)
        for key in [key for key in self.waiting if key[0] == id(work)]:
            del self.waiting[key]

    @rule()
    def take(self) -> None:
        batch = self.queue.take()
        assert bool(batch) == bool(self.waiting)
        for text in batch:
            assert self.waiting.pop(identity(text)) == len(text.encoding.ids)
        if not batch:
            return
        lengths = lengths_of(batch)
        assert len(batch) <= self.limits.texts
        assert len(batch) == 1 or max(lengths) * len(batch) <= self.limits.tokens
        assert all(abs(length - lengths[0]) <= lengths[0] * self.limits.spread for length in lengths)
        assert batch[0].turn >= self.last_turn
        self.last_turn = batch[0].turn

    @invariant()
    def waiting_texts_are_counted(self) -> None:
        assert self.queue.tokens == sum(self.waiting.values())

    def teardown(self) -> None:
        if not hasattr(self, "queue"):
            return
        while self.waiting:
            self.take()
        assert self.queue.take() == []
        assert self.queue.tokens == 0
        assert not self.queue


TestAnyOrderOfCalls = AnyOrderOfCalls.TestCase
TestAnyOrderOfCalls.settings = settings(deadline=None, max_examples=50, stateful_step_count=25)


@settings(deadline=None)
@given(requests=REQUESTS, limits=LIMITS)
def test_every_text_is_taken_once_and_counted_until_then(requests: list[list[int]], limits: BatchLimits) -> None:
    queue: BatchQueue[Work] = BatchQueue(limits)
    works = [request(*lengths) for lengths in requests]
    for work in works:
        queue.add(work)
    waiting = sum(map(sum, requests))
    taken: list[tuple[int, int]] = []
    assert queue.tokens == waiting
    while batch := queue.take():
        waiting -= sum(lengths_of(batch))
        assert queue.tokens == waiting
        taken += map(identity, batch)
    assert waiting == 0
    assert not queue
    assert sorted(taken) == sorted((id(work), place) for work in works for place in range(len(work.encodings)))


@settings(deadline=None)
@given(requests=REQUESTS, texts=st.integers(min_value=1, max_value=8))
def test_without_spread_only_texts_of_one_length_share_a_batch(requests: list[list[int]], texts: int) -> None:
    queue: BatchQueue[Work] = BatchQueue(BatchLimits(texts, tokens=1000, spread=0))
    for lengths in requests:
        queue.add(request(*lengths))
    batches = [lengths_of(batch) for batch in drained(queue)]
    assert [batch for batch in batches if len(set(batch)) > 1] == []


@settings(deadline=None)
@given(length=LENGTHS, count=st.integers(min_value=1, max_value=100), limits=LIMITS)
def test_texts_of_one_length_keep_the_order_of_their_request(length: int, count: int, limits: BatchLimits) -> None:
    queue: BatchQueue[Work] = BatchQueue(limits)
    queue.add(request(*[length] * count))
    assert [text.place for batch in drained(queue) for text in batch] == list(range(count))


@settings(deadline=None)
@given(
    chance=st.randoms(use_true_random=True),
    length=LENGTHS,
    taken=st.integers(min_value=0, max_value=50),
)
def test_one_text_beside_a_request_of_a_thousand_is_in_one_of_the_next_two_batches(
    chance: random.Random, length: int, taken: int
) -> None:
    queue: BatchQueue[Work] = BatchQueue(BatchLimits(texts=8, tokens=256, spread=0.1))
    queue.add(request(*chance.choices(range(1, 61), k=1000)))
    for _ in range(taken):
        queue.take()
    single = request(length)
    queue.add(single)
    assert single in [text.work for batch in (queue.take(), queue.take()) for text in batch]


@settings(deadline=None)
@given(lengths=st.lists(LENGTHS, min_size=1, max_size=30))
def test_requests_of_one_text_are_served_in_the_order_they_came(lengths: list[int]) -> None:
    queue: BatchQueue[Work] = BatchQueue(BatchLimits(texts=1, tokens=1000))
    works = [request(length) for length in lengths]
    for work in works:
        queue.add(work)
    assert [text.work for batch in drained(queue) for text in batch] == works


def test_two_equal_requests_are_served_side_by_side() -> None:
    queue: BatchQueue[Work] = BatchQueue(BatchLimits(texts=4, tokens=1000))
    first, second = request(*[5] * 100), request(*[5] * 100)
    queue.add(first)
    queue.add(second)
    half = [text.work for _ in range(25) for text in queue.take()]
    assert abs(half.count(first) - half.count(second)) <= 4


def test_a_cancelled_request_gives_no_other_text_its_turn() -> None:
    queue: BatchQueue[Work] = BatchQueue(BatchLimits(texts=1, tokens=1000, spread=0))
    cancelled, long = request(5), request(*[7] * 100, 5)
    queue.add(cancelled)
    queue.add(long)
    queue.cancel(cancelled)
    assert [text.place for batch in drained(queue) for text in batch] == list(range(101))


def test_a_full_batch_of_texts_of_about_one_length_is_taken_together() -> None:
    queue: BatchQueue[Work] = BatchQueue(BatchLimits(texts=8, tokens=84, spread=0.1))
    queue.add(request(20, 50, 21, 22, 23, 19, 18, 17))
    assert sorted(lengths_of(queue.take())) == [18, 19, 20, 21]  # with 22, four texts would be 88 tokens
    assert lengths_of(queue.take()) == [50]


def test_a_text_longer_than_a_batch_may_be_is_a_batch_of_its_own() -> None:
    queue: BatchQueue[Work] = BatchQueue(BatchLimits(texts=8, tokens=10, spread=1.0))
    queue.add(request(30, 30, 4))
    assert [lengths_of(batch) for batch in drained(queue)] == [[30], [30], [4]]


def test_an_empty_queue_has_no_batch() -> None:
    assert BatchQueue[Work](BatchLimits(texts=8, tokens=100)).take() == []


@pytest.mark.parametrize("count", [1, 3])
def test_a_queue_of_cancelled_requests_only_has_no_batch_and_becomes_empty(count: int) -> None:
    queue: BatchQueue[Work] = BatchQueue(BatchLimits(texts=8, tokens=100))
    for _ in range(count):
        work = request(3, 4, 5)
        queue.add(work)
        queue.cancel(work)
    assert queue.take() == []
    assert queue.tokens == 0
    assert not queue
