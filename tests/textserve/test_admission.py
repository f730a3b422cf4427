from __future__ import annotations

import pytest

from textserve.admission import ASSUMED_TOKENS_PER_SECOND, Admission
from textserve.errors import DeadlineExceeded, Overloaded, RequestTooLarge
from textserve.settings import Settings


def new(**settings: float) -> Admission:
    return Admission(Settings.model_validate({"threads": 1, "max_waiting_tokens": 10**9} | settings))


def admission(*, workers: int = 1, max_waiting_tokens: int = 10**9) -> Admission:
    """Two seconds of queue, after the speed has settled at 1,000 tokens per second and worker."""
    settled = new(max_queue_seconds=2, max_waiting_tokens=max_waiting_tokens, threads=workers)
    for _ in range(500):
        settled.computed(10, 0.01)
    return settled


@pytest.mark.parametrize("workers", [1, 2])
def test_a_queue_longer_than_the_limit_rejects_with_its_length(workers: int) -> None:
    admission(workers=workers).check(1, waiting=10**6, ahead=2000 * workers - 10)
    with pytest.raises(Overloaded, match=r"2\.0 s long, the limit is 2 s") as error:
        admission(workers=workers).check(1, waiting=10**6, ahead=2000 * workers + 10)
    assert error.value.retry_after == pytest.approx(2.0, rel=0.01)


def test_waiting_tokens_are_limited_however_short_the_queue() -> None:
    with pytest.raises(Overloaded, match="900 tokens are waiting, the limit is 1000") as error:
        admission(max_waiting_tokens=1000).check(101, waiting=900, ahead=0)
    assert error.value.retry_after == pytest.approx(0.9, rel=0.01)
    admission(max_waiting_tokens=1000).check(100, waiting=900, ahead=0)


def test_an_empty_queue_admits_a_request_beyond_the_waiting_limit() -> None:
    admission(max_waiting_tokens=1000).check(5000, waiting=0, ahead=0)


def test_a_request_that_cannot_end_in_time_is_refused_at_once() -> None:
    slow = new(request_seconds=30)
    for _ in range(500):
        slow.computed(512, 0.512)
    slow.check(29_000, waiting=0, ahead=0)
    with pytest.raises(RequestTooLarge, match=r"about 31\.0 s for 31000 tokens"):
        slow.check(31_000, waiting=0, ahead=0)
    slow.check(4000, 5, waiting=0, ahead=0)
    with pytest.raises(DeadlineExceeded, match=r"about 6\.0 s for 6000 tokens .* allow more than 5\.0 s"):
        slow.check(6000, 5, waiting=0, ahead=0)


def test_small_batches_do_not_make_a_large_request_look_slow() -> None:
    mixed = new(request_seconds=30)
    for _ in range(500):
        mixed.computed(512, 0.1)
    for _ in range(500):
        mixed.computed(5, 0.005)
    mixed.check(100_000, waiting=0, ahead=0)


def test_slower_batches_shorten_the_queue() -> None:
    slowed = admission()
    slowed.check(1, waiting=1900, ahead=1900)
    for _ in range(100):
        slowed.computed(10, 0.1)
    with pytest.raises(Overloaded, match=r"19\.0 s long"):
        slowed.check(1, waiting=1900, ahead=1900)


def test_a_speed_is_assumed_before_the_first_batch() -> None:
    unmeasured = new(max_queue_seconds=1, threads=2)
    unmeasured.check(1, waiting=1, ahead=int(2 * ASSUMED_TOKENS_PER_SECOND))
    with pytest.raises(Overloaded):
        unmeasured.check(1, waiting=1, ahead=int(2 * ASSUMED_TOKENS_PER_SECOND) + 100)


def test_a_batch_that_all_workers_have_computed_counts_once() -> None:
    spread = new(max_queue_seconds=2, threads=4)
    for _ in range(500):
        spread.computed(400, 0.1, spread=True)
    spread.check(1, waiting=10**6, ahead=7990)
    with pytest.raises(Overloaded):
        spread.check(1, waiting=10**6, ahead=8010)
