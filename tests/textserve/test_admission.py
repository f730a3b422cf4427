from __future__ import annotations

import pytest

from textserve.admission import ASSUMED_TOKENS_PER_SECOND, Admission
from textserve.errors import Overloaded


def admission(*, workers: int = 1, max_waiting_tokens: int = 10**9) -> Admission:
    """Two seconds of queue, after the speed has settled at 1,000 tokens a second and worker."""
    one = Admission(2.0, max_waiting_tokens, workers)
    for _ in range(500):
        one.computed(10, 0.01)
    return one


@pytest.mark.parametrize(("workers", "ahead"), [(1, 1990), (2, 3990)])
def test_a_queue_within_the_time_allowed_takes_any_request(workers: int, ahead: int) -> None:
    admission(workers=workers).check(10**6, waiting=ahead, ahead=ahead)


@pytest.mark.parametrize(("workers", "ahead"), [(1, 2010), (2, 4010)])
def test_a_longer_queue_refuses_and_says_how_long_it_is(workers: int, ahead: int) -> None:
    with pytest.raises(Overloaded, match=r"2\.0 s long, the limit is 2 s") as refusal:
        admission(workers=workers).check(1, waiting=ahead, ahead=ahead)
    assert refusal.value.retry_after == pytest.approx(2.0, rel=0.01)


def test_tokens_that_wait_for_their_requests_next_turn_do_not_count_as_time() -> None:
    admission().check(1, waiting=10**6, ahead=500)


def test_what_would_not_fit_into_memory_is_refused_however_short_the_queue() -> None:
    with pytest.raises(Overloaded, match="900 tokens are waiting, the limit is 1000") as refusal:
        admission(max_waiting_tokens=1000).check(101, waiting=900, ahead=0)
    assert refusal.value.retry_after == pytest.approx(0.9, rel=0.01)
    admission(max_waiting_tokens=1000).check(100, waiting=900, ahead=0)


def test_an_empty_queue_takes_a_request_of_any_size() -> None:
    admission(max_waiting_tokens=1000).check(5000, waiting=0, ahead=0)


def test_a_machine_that_becomes_slow_shortens_the_queue() -> None:
    one = admission()
    one.check(1, waiting=1900, ahead=1900)
    for _ in range(100):
        one.computed(10, 0.1)
    with pytest.raises(Overloaded, match=r"19\.0 s long"):
        one.check(1, waiting=1900, ahead=1900)


def test_before_the_first_batch_a_speed_is_assumed() -> None:
    one = Admission(1.0, 10**9, workers=2)
    one.check(1, waiting=1, ahead=int(2 * ASSUMED_TOKENS_PER_SECOND))
    with pytest.raises(Overloaded):
        one.check(1, waiting=1, ahead=int(2 * ASSUMED_TOKENS_PER_SECOND) + 100)
