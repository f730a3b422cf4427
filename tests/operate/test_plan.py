"""The states of a rollout: what holds after any sequence of events."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operate.counts import Counts
from operate.errors import OperateError
from operate.plan import STRATEGIES, Rollout

EVENTS = st.lists(st.sampled_from(["passed", "promoted", "aborted"]), max_size=8)
STRATEGY = st.sampled_from(sorted(STRATEGIES))


def after(rollout: Rollout, event: str) -> Rollout:
    if event == "aborted":
        return rollout.aborted("found bad")
    return rollout.passed() if event == "passed" else rollout.promoted()


@given(STRATEGY, EVENTS)
def test_the_share_rises_by_one_step_at_a_time_or_ends(strategy: str, events: list[str]) -> None:
    rollout = Rollout("green", STRATEGIES[strategy], mirror=True)
    allowed = [0, *rollout.steps]
    for event in events:
        before, rollout = rollout, after(rollout, event)
        if before.status != "running":
            assert rollout == before
        elif event == "aborted":
            assert (rollout.status, rollout.share) == ("aborted", 0)
        elif event == "promoted":
            assert (rollout.status, rollout.share) == ("promoted", 100)
        elif before.steps:
            expected = allowed[min(allowed.index(before.share) + 1, len(allowed) - 1)]
            assert rollout.share == expected
            assert (rollout.status == "promoted") is (before.share == 100)
        else:
            assert (rollout.status, rollout.share) == ("observed", 0)
        if rollout.status == "running":
            assert rollout.share <= max(rollout.steps, default=0)


@given(STRATEGY)
def test_only_a_rollout_that_has_passed_every_step_is_promoted_by_itself(strategy: str) -> None:
    rollout = Rollout("blue", STRATEGIES[strategy], mirror=True)
    for _ in rollout.steps:
        assert rollout.status == "running"
        rollout = rollout.passed()
    assert rollout.status == ("promoted" if rollout.steps else "running")


@given(STRATEGY, EVENTS, st.floats(0, 1e9))
def test_a_rollout_is_read_from_the_disk_as_it_was_written(strategy: str, events: list[str], value: float) -> None:
    counts = Counts(value, 1.0, 2.0, {"native": {"0.5": value, "inf": value}}, {"positive": value})
    rollout = Rollout("green", STRATEGIES[strategy], mirror=True, base={"green": counts}, mirrored=(3, 2))
    for event in events:
        rollout = after(rollout, event)
    assert Rollout.from_json(json.loads(json.dumps(rollout.to_json()))) == rollout


@pytest.mark.parametrize("steps", [(50, 25, 100), (5, 50), (0, 100), (100, 100), (5, 101)])
def test_steps_that_do_not_rise_to_all_requests_are_refused(steps: tuple[int, ...]) -> None:
    with pytest.raises(OperateError, match="must rise from above 0 to 100"):
        Rollout("green", steps, mirror=False)


def test_a_candidate_of_another_name_is_refused() -> None:
    with pytest.raises(OperateError, match="blue or green; found: red"):
        Rollout("red", (100,), mirror=False)
