"""The verdicts of the mix."""

from __future__ import annotations

import random

import pytest

from tests.faults.honest import Seen, Sent
from tests.faults.mix import MOST_GROWTH, figures, memory_growth

MEGABYTE = 2**20


def samples(growth: float) -> list[tuple[float, int]]:
    """Half an hour of samples with peaks, which grow by so many bytes a second."""
    peaks = random.Random(1)
    return [
        (at, round(300 * MEGABYTE + growth * at + peaks.choice([0, 0, 20, 150]) * MEGABYTE)) for at in range(0, 1800, 2)
    ]


def test_peaks_are_no_growth() -> None:
    slope, growth = memory_growth(samples(0.0))
    assert abs(growth) < MOST_GROWTH / 10
    assert abs(slope) < 1000


def test_a_leak_below_the_peaks_is_growth() -> None:
    slope, growth = memory_growth(samples(MEGABYTE / 60))
    assert slope == pytest.approx(MEGABYTE / 60, rel=0.1)
    assert growth > MOST_GROWTH


@pytest.mark.parametrize(
    ("outcome", "restarted", "expected"),
    [
        ("ok", False, {}),
        ("429", False, {}),
        ("503", False, {}),
        ("500", False, {"no honest request lost": False}),
        ("ConnectionResetError", False, {"no honest request lost": False}),
        ("ok", True, {"never restarted": False}),
    ],
)
def test_a_request_is_lost_unless_it_is_answered_or_refused(
    outcome: str, restarted: bool, expected: dict[str, bool]
) -> None:
    seen = Seen([Sent("http", 0.0, 0.1, "ok"), Sent("http", 0.2, 0.1, outcome)], [Sent("probe", 0.0, 0.1, "200")])
    verdicts = figures(seen, samples(0.0), restarted=restarted)["verdicts"]
    assert (
        verdicts
        == {
            "never restarted": True,
            "no honest request lost": True,
            "memory does not grow": True,
        }
        | expected
    )
