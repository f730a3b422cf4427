from __future__ import annotations

import pytest

from textserve.admission import ASSUMED_TOKENS_PER_SECOND, Admission
from textserve.errors import Overloaded


def admission(*, workers: int = 1, max_waiting_tokens: int = 10**9) -> Admission:
    """Two seconds of queue, after the speed has settled at 1,000 tokens per second and worker."""
    settled = Admission(2.0, max_waiting_tokens, workers)
    for _ in range(500):
        settled.computed(10, 0.01)
    return settled


@pytest.mark.parametrize("workers", [1, 2])
def test_a_queue_longer_than_the_limit_rejects_with_its_length(workers: int) -> None:
    admission(workers=workers).check(10**6, waiting=10**6, ahead=2000 * workers - 10)
    with pytest.raises(Overloaded, match=r"2\.0 s long, the limit is 2 s") as error:
        admission(workers=workers).check(1, waiting=10**6, ahead=2000 * workers + 10)
    assert error.value.retry_after == pytest.approx(2.0, rel=0.01)


def test_waiting_tokens_are_limited_however_short_the_queue() -> None:
    with pytest.raises(Overloaded, match="900 tokens are waiting, the limit is 1000") as error:
        admission(max_waiting_tokens=1000).check(101, waiting=900, ahead=0)
    assert error.value.retry_after == pytest.approx(0.9, rel=0.01)
    admission(max_waiting_tokens=1000).check(100, waiting=900, ahead=0)


def test_an_empty_queue_admits_a_request_of_any_size() -> None:
    admission(max_waiting_tokens=1000).check(5000, waiting=0, ahead=0)


def test_slower_batches_shorten_the_queue() -> None:
    slowed = admission()
    slowed.check(1, waiting=1900, ahead=1900)
    for _ in range(100):
        slowed.computed(10, 0.1)
    with pytest.raises(Overloaded, match=r"19\.0 s long"):
        slowed.check(1, waiting=1900, ahead=1900)


def test_a_speed_is_assumed_before_the_first_batch() -> None:
    new = Admission(1.0, 10**9, workers=2)
    new.check(1, waiting=1, ahead=int(2 * ASSUMED_TOKENS_PER_SECOND))
    with pytest.raises(Overloaded):
        new.check(1, waiting=1, ahead=int(2 * ASSUMED_TOKENS_PER_SECOND) + 100)
