"""The number of pods, and the simulated autoscaler."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operate.capacity import Autoscaler, day_with_spike, pods, simulate

SCALER = Autoscaler(least=3, most=20, utilisation=0.6)


@given(st.floats(0, 1e5), st.floats(1, 1e3), st.floats(0.05, 1), st.integers(1, 5))
def test_the_pods_are_enough_and_not_one_too_many(load: float, rate: float, utilisation: float, zones: int) -> None:
    found = pods(load, rate, utilisation, zones)
    assert found * rate * utilisation >= load * (1 - 1e-9)
    if zones == 1 and found > 1:
        assert (found - 1) * rate * utilisation < load
    if zones > 1:
        # A zone has at most one pod more than another.
        assert (found - -(-found // zones)) * rate >= load * (1 - 1e-9)


def test_a_load_within_the_least_pods_loses_nothing() -> None:
    outcome = simulate([100.0] * 7200, 100.0, SCALER)
    assert (outcome.lost, outcome.most_pods, outcome.mean_pods) == (0.0, 3, 3.0)


def test_a_day_is_followed_without_loss_and_a_sudden_spike_is_not() -> None:
    calm = simulate(day_with_spike(30, 600, 600), 100.0, SCALER)
    spiky = simulate(day_with_spike(30, 600, 1800), 100.0, SCALER)
    assert calm.lost == 0
    assert 3 < calm.mean_pods < calm.most_pods <= 11
    assert spiky.lost > 0
    assert spiky.most_pods > calm.most_pods


def test_faster_starts_lose_less_and_more_than_the_most_pods_are_never_used() -> None:
    day = day_with_spike(30, 600, 5000)
    lost = [simulate(day, 100.0, replace(SCALER, start=start)).lost for start in (0, 20, 200)]
    assert lost == sorted(lost)
    assert simulate(day, 100.0, SCALER).most_pods == SCALER.most


@pytest.mark.parametrize(("rate", "utilisation"), [(0.0, 0.5), (1.0, 0.0), (1.0, 1.5)])
def test_a_rate_that_needs_no_end_of_pods_is_refused(rate: float, utilisation: float) -> None:
    with pytest.raises(ValueError, match="no number of pods"):
        pods(10, rate, utilisation)
