from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from textserve.admission import Admission
from textserve.batching import LARGE_SHARE, SMALL_SECONDS, BatchLimits, BatchQueue, Text, Work
from textserve.classifier import Encoding
from textserve.errors import Overloaded
from textserve.settings import Settings

LENGTHS = st.integers(min_value=1, max_value=60)
REQUESTS = st.lists(st.lists(LENGTHS, min_size=1, max_size=12), min_size=1, max_size=12)
LIMITS = st.builds(
    BatchLimits,
    texts=st.integers(min_value=1, max_value=8),
    tokens=st.integers(min_value=1, max_value=200),
    padding=st.sampled_from((0, 2, 10, 100)),
)


IDS = itertools.count()


def request(*lengths: int, deadline: float = inf, late: float = inf) -> Work:
    """Texts of these lengths, no two of which are equal."""
    return Work([Encoding([next(IDS)] * length, truncated=False) for length in lengths], deadline=deadline, late=late)


def lengths_of(batch: Sequence[Text[Work]]) -> list[int]:
    return [len(text.encoding.ids) for text in batch]


def identity(text: Text[Work]) -> tuple[int, int]:
    return id(text.work), text.index


def drained(queue: BatchQueue[Work]) -> list[list[Text[Work]]]:
    batches = []
    while batch := queue.take(0.0):
        batches.append(batch)
    return batches


class AnyOrderOfEvents(RuleBasedStateMachine):
    """Requests arrive, are rejected or cancelled, time out, and are taken, in any order.

    The clock is a number, and a text's result is its ids. In some requests, texts of one length are equal.
    """

    works = Bundle("works")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.accepted: list[Work] = []
        self.answers: dict[tuple[int, int], list[int]] = {}
        self.over: set[int] = set()

    @initialize(
        limits=LIMITS,
        max_queue_seconds=st.sampled_from((0.001, 0.01, 1.0)),
        max_waiting_tokens=st.sampled_from((50, 500, 10**9)),
    )
    def begin(self, limits: BatchLimits, max_queue_seconds: float, max_waiting_tokens: int) -> None:
        self.limits, self.max_waiting_tokens = limits, max_waiting_tokens
        self.queue: BatchQueue[Work] = BatchQueue(limits)
        settings = {"max_queue_seconds": max_queue_seconds, "max_waiting_tokens": max_waiting_tokens, "threads": 1}
        self.admission = Admission(Settings.model_validate(settings))

    @rule(
        target=works,
        lengths=st.lists(LENGTHS, min_size=1, max_size=12),
        seconds=st.sampled_from((0.5, 3.0, inf)),
        repeated=st.booleans(),
    )
    def arrive(self, lengths: list[int], seconds: float, repeated: bool) -> Work:
        number = 0 if repeated else len(self.accepted) + 1
        places = [0 if repeated else index for index in range(len(lengths))]
        work = Work(
            [
                Encoding([number, index, *[0] * (length - 2)][:length], False)
                for index, length in zip(places, lengths, strict=True)
            ],
            deadline=self.now + seconds,
            late=self.now + seconds / 2,
        )
        try:
            self.admission.check(sum(lengths), waiting=self.queue.tokens, ahead=self.queue.tokens_ahead)
        except Overloaded:
            assert self.queue
            self.over.add(id(work))
        else:
            self.queue.add(work)
        self.accepted.append(work)  # rejected ones too, so that no id is reused
        return work

    @rule(work=works)
    def cancel(self, work: Work) -> None:
        self.queue.cancel(work)
        self.over.add(id(work))

    @rule(seconds=st.sampled_from((0.1, 1.0)))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def compute(self) -> None:
        due = self.due()
        batch = self.queue.take(self.now)
        assert bool(batch) == bool(due)
        for text in batch:
            assert identity(text) in due
            assert identity(text) not in self.answers
            self.answers[identity(text)] = text.encoding.ids
        waiting = {text.row for work in self.accepted for text in (Text(work, index) for index in work._waiting)}
        assert not waiting & {text.row for text in batch}
        lengths = [len(encoding.ids) for encoding in {text.row: text.encoding for text in batch}.values()]
        assert len(lengths) <= self.limits.texts
        assert len(lengths) <= 1 or max(lengths) * len(lengths) <= self.limits.tokens
        for count, length in enumerate(lengths[1:], start=1):
            longest = max(lengths[:count])
            assert max(longest - length, (length - longest) * count) <= self.limits.padding
        if batch:
            self.admission.computed(sum(lengths), 0.001)
            assert batch == [
                text for row in dict.fromkeys(text.row for text in batch) for text in batch if text.row == row
            ]

    def due(self) -> set[tuple[int, int]]:
        return {
            (id(work), index)
            for work in self.accepted
            if id(work) not in self.over and work.deadline > self.now
            for index in range(len(work.encodings))
        } - self.answers.keys()

    @invariant()
    def waiting_texts_are_counted(self) -> None:
        if not hasattr(self, "queue"):
            return
        waiting = [work.waiting_tokens for work in self.accepted]
        assert self.queue.tokens == sum(waiting)
        texts = [Text(work, index) for work in self.accepted for index in work._waiting]
        distinct = sum(len(encoding.ids) for encoding in {text.row: text.encoding for text in texts}.values())
        assert self.queue.tokens_ahead == min(distinct, sum(min(tokens, self.limits.tokens) for tokens in waiting))
        assert bool(self.queue) == any(work.waiting_texts for work in self.accepted)

    def teardown(self) -> None:
        if not hasattr(self, "queue"):
            return
        while self.due():
            self.compute()
        assert self.queue.take(self.now) == []
        assert self.queue.tokens == 0
        assert not self.queue
        for work in self.accepted:
            if id(work) in self.over or work.deadline <= self.now:
                continue
            assert [self.answers[id(work), index] for index in range(len(work.encodings))] == [
                encoding.ids for encoding in work.encodings
            ]


TestAnyOrderOfEvents = AnyOrderOfEvents.TestCase
TestAnyOrderOfEvents.settings = settings(max_examples=80, stateful_step_count=30)


@given(requests=REQUESTS, texts=st.integers(min_value=1, max_value=8))
def test_without_padding_only_texts_of_one_length_share_a_batch(requests: list[list[int]], texts: int) -> None:
    queue: BatchQueue[Work] = BatchQueue(BatchLimits(texts, tokens=1000, padding=0))
    for lengths in requests:
        queue.add(request(*lengths))
    batches = [lengths_of(batch) for batch in drained(queue)]
    assert [batch for batch in batches if len(set(batch)) > 1] == []


@given(length=LENGTHS, count=st.integers(min_value=1, max_value=100), limits=LIMITS)
def test_texts_of_one_length_keep_the_order_of_their_request(length: int, count: int, limits: BatchLimits) -> None:
    queue: BatchQueue[Work] = BatchQueue(limits)
    queue.add(request(*[length] * count))
    assert [text.index for batch in drained(queue) for text in batch] == list(range(count))


@given(
    chance=st.randoms(use_true_random=True),
    length=LENGTHS,
    requests=st.integers(min_value=1, max_value=5),
    taken=st.integers(min_value=1, max_value=50),
)
def test_one_text_waits_for_a_small_part_of_a_batch_of_one_large_request(
    chance: random.Random, length: int, requests: int, taken: int
) -> None:
    queue: BatchQueue[Work] = BatchQueue(BatchLimits(texts=8, tokens=512, padding=4))
    large = [request(*chance.choices(range(1, 61), k=1000)) for _ in range(requests)]
    for work in large:
        queue.add(work)
    queue.add(request(5))
    for _ in range(taken):
        queue.take(0.0)
    single = request(length)
    queue.add(single)
    before = 0
    while single.waiting_texts:
        batch = queue.take(0.0)
        before += sum(lengths_of(batch))
    # Only a part of a batch, and the other small request, were taken before.
    assert before - sum(lengths_of(batch)) <= LARGE_SHARE + 5
    # A batch that starts with the single text has no texts of the large requests.
    assert batch[0].work is not single or [text.work for text in batch] == [single]


def test_large_requests_get_whole_batches_without_small_ones() -> None:
    queue: BatchQueue[Work] = BatchQueue(BatchLimits(texts=32, tokens=512, padding=4))
    queue.add(request(*[20] * 1000))
    assert len(queue.take(0.0)) == 25
    queue.add(request(50))
    assert lengths_of(queue.take(0.0)) == [50]
    assert len(queue.take(SMALL_SECONDS / 2)) == LARGE_SHARE // 20
    assert len(queue.take(SMALL_SECONDS)) == 25


def test_a_small_request_keeps_its_turn_until_it_is_done() -> None:
    queue: BatchQueue[Work] = BatchQueue(BatchLimits(texts=8, tokens=512, padding=0))
    first, second = request(10, 20, 30, 40), request(15, 25)
    queue.add(first)
    queue.add(second)
    assert [text.work for batch in drained(queue) for text in batch] == [first] * 4 + [second] * 2


def test_a_large_request_gets_its_share_next_to_endless_small_ones() -> None:
    chance = random.Random(1)
    queue: BatchQueue[Work] = BatchQueue(BatchLimits(texts=8, tokens=256, padding=0))
    # Its texts are longer than any single text, so that they are computed only in the turns of this request.
    bulk = request(*[70] * 1000)
    queue.add(bulk)
    singles = 10
    for _ in range(singles):
        queue.add(request(chance.randint(5, 60)))
    tokens = {True: 0, False: 0}
    for _ in range(500):
        batch = queue.take(0.0)
        tokens[batch[0].work is bulk] += sum(lengths_of(batch))
        for text in batch:
            if text.work is not bulk:
                queue.add(request(chance.randint(5, 60)))
    assert tokens[True] >= 0.8 * sum(tokens.values()) / (singles + 1)
    assert tokens[True] <= 2.0 * sum(tokens.values()) / (singles + 1)


def test_one_batch_of_each_request_is_ahead_of_a_new_one() -> None:
    queue: BatchQueue[Work] = BatchQueue(BatchLimits(texts=8, tokens=100, padding=4))
    queue.add(request(*[10] * 1000))
    queue.add(request(30))
    assert queue.tokens == 10_030
    assert queue.tokens_ahead == 130


@pytest.mark.parametrize("deadline", [1.0, 2.0])
def test_a_request_beyond_its_deadline_is_dropped_without_taking_a_turn(deadline: float) -> None:
    queue: BatchQueue[Work] = BatchQueue(BatchLimits(texts=8, tokens=100, padding=0))
    late, other = request(5, 5, deadline=deadline), request(5, 6)
    queue.add(late)
    queue.add(other)
    assert [text.work for text in queue.take(2.0)] == [other]
    assert [text.work for text in queue.take(2.0)] == [other]
    assert late.waiting_texts == 0
    assert not queue


@given(lengths=st.lists(LENGTHS, min_size=1, max_size=30))
def test_requests_of_one_text_are_first_come_first_served(lengths: list[int]) -> None:
    queue: BatchQueue[Work] = BatchQueue(BatchLimits(texts=1, tokens=1000, padding=4))
    works = [request(length) for length in lengths]
    for work in works:
        queue.add(work)
    assert [text.work for batch in drained(queue) for text in batch] == works


def test_two_large_requests_alternate() -> None:
    queue: BatchQueue[Work] = BatchQueue(BatchLimits(texts=4, tokens=1000, padding=4))
    first, second = request(*[6] * 100), request(*[6] * 100)
    queue.add(first)
    queue.add(second)
    half = [text.work for _ in range(25) for text in queue.take(0.0)]
    # Batches are filled up with the oldest texts, so the first request is ahead, but the second is not starved.
    assert half.count(second) >= len(half) / 5
    assert half.count(first) >= half.count(second)


def test_a_cancelled_request_leaves_its_turn_to_no_other() -> None:
    queue: BatchQueue[Work] = BatchQueue(BatchLimits(texts=1, tokens=1000, padding=0))
    cancelled, long = request(5), request(*[7] * 100, 5)
    queue.add(cancelled)
    queue.add(long)
    queue.cancel(cancelled)
    assert [text.index for batch in drained(queue) for text in batch] == list(range(101))


def test_texts_of_similar_length_share_a_batch() -> None:
    queue: BatchQueue[Work] = BatchQueue(BatchLimits(texts=8, tokens=84, padding=4))
    queue.add(request(20, 50, 21, 22, 23, 19, 18, 17))
    assert sorted(lengths_of(queue.take(0.0))) == [18, 19, 20, 21]  # with 22, four texts would be 88 tokens
    assert lengths_of(queue.take(0.0)) == [50]


@pytest.mark.parametrize(("now", "joining"), [(0.9, 4), (1.0, 2)])
def test_only_the_older_half_of_what_came_after_a_late_request_joins_its_batch(now: float, joining: int) -> None:
    queue: BatchQueue[Work] = BatchQueue(BatchLimits(texts=8, tokens=512, padding=4))
    requests = [request(20, late=1.0), *(request(20) for _ in range(4))]
    for work in requests:
        queue.add(work)
    assert [text.work for text in queue.take(now)] == requests[: 1 + joining]


@pytest.mark.parametrize(("length", "joins"), [(14, True), (13, False), (22, True), (23, False)])
def test_a_text_joins_a_batch_if_it_adds_little_padding(length: int, joins: bool) -> None:
    limits = BatchLimits(texts=8, tokens=1000, padding=6)
    # A longer text pads each of the three, a shorter one is padded itself.
    assert limits.admit(length, texts=3, longest=20) is joins


def test_a_text_longer_than_a_batch_is_computed_alone() -> None:
    queue: BatchQueue[Work] = BatchQueue(BatchLimits(texts=8, tokens=10, padding=100))
    queue.add(request(30, 30, 4))
    assert [lengths_of(batch) for batch in drained(queue)] == [[30], [30], [4]]


def equal(*lengths: int, deadline: float = inf) -> Work:
    """Texts that are equal if they have the same length."""
    return Work([Encoding([-1] * length, truncated=False) for length in lengths], deadline=deadline)


def test_equal_texts_are_taken_with_the_first_of_them_whoever_sent_them() -> None:
    queue: BatchQueue[Work] = BatchQueue(BatchLimits(texts=2, tokens=12, padding=0))
    first, second, late = equal(6, 6, 5), equal(6), equal(6, deadline=1.0)
    for work in (first, second, late, request(6, 6)):
        queue.add(work)
    assert queue.tokens == 41
    batch = queue.take(1.0)
    assert [(text.work, text.index) for text in batch[:3]] == [(first, 0), (first, 1), (second, 0)]
    # The batch computes two texts, its limit: one for the first three, and one of another request.
    assert lengths_of(batch) == [6] * 4
    assert not late.waiting_texts
    assert [lengths_of(batch) for batch in drained(queue)] == [[5], [6]]
    assert queue.tokens == 0


def test_equal_texts_are_charged_and_are_ahead_once() -> None:
    queue: BatchQueue[Work] = BatchQueue(BatchLimits(texts=8, tokens=100, padding=4))
    for _ in range(50):
        queue.add(equal(10))
    assert (queue.tokens, queue.tokens_ahead) == (500, 10)
    large = equal(*[70] * 200)
    queue.add(large)
    queue.add(request(*[71] * 200))
    assert len(queue.take(0.0)) == 50
    turn = large._turn
    assert len(queue.take(0.0)) == 200
    assert large._turn == turn + 70


def test_texts_with_other_type_ids_are_not_equal() -> None:
    queue: BatchQueue[Work] = BatchQueue(BatchLimits(texts=1, tokens=100, padding=0))
    for types in ([0, 0, 1], [0, 1, 1], [0, 0, 1]):
        queue.add(Work([Encoding([1, 2, 3], False, types)]))
    assert [len(batch) for batch in drained(queue)] == [2, 1]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_queue_without_requests_but_cancelled_ones_is_empty(count: int) -> None:
    queue: BatchQueue[Work] = BatchQueue(BatchLimits(texts=8, tokens=100, padding=4))
    for _ in range(count):
        work = request(3, 4, 5)
        queue.add(work)
        queue.cancel(work)
    assert queue.take(0.0) == []
    assert queue.tokens == 0
    assert not queue
