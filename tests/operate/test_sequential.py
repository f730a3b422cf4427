"""The sequential test: its error rates, simulated, and that it decides with few observations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operate.sequential import Decision, Sprt

RUNS = 2000
LONGEST = 4000


def simulated(test: Sprt, share: float, look: int, seed: int) -> tuple[float, float]:
    """The share of runs that end as bad, and the median length, for a true share, looking each ``look`` observations.

    Runs without a decision fail the test.
    """
    hits = np.cumsum(np.random.default_rng(seed).random((RUNS, LONGEST)) < share, axis=1)
    bad, lengths = 0, []
    for run in hits:
        for total in range(look, LONGEST + 1, look):
            decision = test.decide(float(run[total - 1]), total)
            if decision is not Decision.MORE:
                bad += decision is Decision.BAD
                lengths.append(total)
                break
        else:
            raise AssertionError("no decision")
    return bad / RUNS, float(np.median(lengths))


@pytest.mark.parametrize("look", [1, 7, 50])
@pytest.mark.parametrize(("good", "bad"), [(0.005, 0.03), (0.1, 0.3), (0.5, 0.7)])
def test_its_error_rates_hold_however_often_it_is_asked(good: float, bad: float, look: int) -> None:
    test = Sprt(good, bad, alpha=0.05, beta=0.05)
    # Four standard errors of a simulated rate of 5 %.
    slack = 4 * (0.05 * 0.95 / RUNS) ** 0.5
    assert simulated(test, good, look, 1)[0] <= 0.05 + slack
    assert simulated(test, bad, look, 2)[0] >= 0.95 - slack


def test_a_test_that_is_asked_at_each_request_without_the_bounds_would_err_more_often() -> None:
    naive = Sprt(0.1, 0.3, alpha=0.4, beta=0.05)
    assert simulated(naive, 0.1, 1, 3)[0] > 0.05 + 4 * (0.05 * 0.95 / RUNS) ** 0.5


def test_what_is_clear_is_decided_sooner() -> None:
    test = Sprt(0.005, 0.03, alpha=0.001, beta=0.01)
    assert simulated(test, 0.5, 1, 4)[1] < simulated(test, 0.05, 1, 5)[1] < 300
    assert simulated(test, 0.0, 1, 6)[1] < 300


@given(st.floats(0, 1), st.floats(0, 1))
def test_only_a_good_share_below_the_bad_one_is_a_test(good: float, bad: float) -> None:
    if Sprt.clipped(good) < Sprt.clipped(bad):
        assert Sprt(good, bad).decide(0, 0) is Decision.MORE
    else:
        with pytest.raises(ValueError, match="is not below the bad one"):
            Sprt(good, bad)


@given(st.integers(0, 500), st.integers(0, 500))
def test_more_hits_are_never_better(hits: int, misses: int) -> None:
    order = [Decision.GOOD, Decision.MORE, Decision.BAD]
    test = Sprt(0.1, 0.3)
    fewer, more = (order.index(test.decide(hits + extra, hits + misses + 1)) for extra in (0, 1))
    assert fewer <= more


@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 0.1), (0.1, 0.5), (-0.1, 0.1)])
def test_error_rates_that_decide_nothing_are_refused(alpha: float, beta: float) -> None:
    with pytest.raises(ValueError, match=r"between 0 and 0\.5"):
        Sprt(0.1, 0.2, alpha, beta)
