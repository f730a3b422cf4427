"""The judgement of a candidate: which of many simulated ones are found bad, and by which check."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from operate.checks import Limits, Mirrored, block, judge
from operate.counts import Counts, Sample, count
from operate.sequential import Decision

# The buckets of textserve_request_seconds.
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, float("inf"))
LABELS = ("negative", "neutral", "positive")
RUNS = 200
LOOKS = 200


@dataclass
class Version:
    """A simulated version: what share fails, is refused, gets each label, and the median of its seconds."""

    failures: float = 0.0
    refusals: float = 0.0
    seconds: float = 0.012
    shares: tuple[float, float, float] = (0.3, 0.2, 0.5)
    disagreement: float = 0.02


def answered(version: Version, requests: int, random: np.random.Generator) -> Counts:
    """The counts of so many requests, with times of a log-normal distribution."""
    failed, refused = random.binomial(requests, version.failures), random.binomial(requests, version.refusals)
    times = random.lognormal(np.log(version.seconds), 0.7, requests)
    texts = random.multinomial(requests, version.shares)
    return Counts(
        float(requests - failed - refused),
        float(failed),
        float(refused),
        {"native": {str(bound): float((times <= bound).sum()) for bound in BOUNDS}},
        dict(zip(LABELS, map(float, texts), strict=True)),
    )


def total(a: Counts, b: Counts) -> Counts:
    """The sum of the counts of two times."""
    within = {bound: a.seconds["native"][bound] + count for bound, count in b.seconds["native"].items()}
    labels = {label: a.labels[label] + count for label, count in b.labels.items()}
    return Counts(a.answered + b.answered, a.failed + b.failed, a.refused + b.refused, {"native": within}, labels)


def judged(stable: Version, candidate: Version, seed: int, share: float = 0.05) -> set[str]:
    """The checks that find the candidate bad in a canary's first step, looking after each 100 requests."""
    random = np.random.default_rng(seed)
    one, two = answered(stable, 0, random), answered(candidate, 0, random)
    texts = disagreed = 0
    blocks: list[dict[str, bool]] = []
    last = (one, two)
    for _ in range(LOOKS):
        one = total(one, answered(stable, round(100 * (1 - share)), random))
        two = total(two, answered(candidate, round(100 * share), random))
        texts, disagreed = texts + 5, disagreed + random.binomial(5, candidate.disagreement)
        found = block(one, one.since(last[0]), two.since(last[1]), Limits())
        if found is not None:
            blocks, last = [*blocks, found], (one, two)
        findings = judge(one, two, blocks, Mirrored(texts, disagreed), Limits())
        if bad := {finding.check for finding in findings if finding.decision is Decision.BAD}:
            return bad
        if all(finding.decision is Decision.GOOD for finding in findings):
            return set()
    raise AssertionError("no decision")


@pytest.mark.parametrize("stable", [Version(), Version(failures=0.01, refusals=0.05, seconds=0.2)])
def test_a_good_candidate_is_rarely_found_bad(stable: Version) -> None:
    assert sum(bool(judged(stable, stable, seed)) for seed in range(RUNS)) / RUNS <= 0.02


@pytest.mark.parametrize(
    ("candidate", "check"),
    [
        (Version(failures=0.05), "failures"),
        (Version(refusals=0.1), "refusals"),
        (Version(seconds=0.036), "slower"),
        (Version(shares=(0.5, 0.2, 0.3)), "label"),
        (Version(disagreement=0.8), "disagreement"),
    ],
)
def test_a_bad_candidate_is_found(candidate: Version, check: str) -> None:
    found = [judged(Version(), candidate, seed) for seed in range(RUNS)]
    assert sum(bool(each) for each in found) / RUNS >= 0.98
    assert any(name.startswith(check) for each in found for name in each)


def test_a_few_stragglers_are_found_though_most_requests_are_as_fast() -> None:
    times = {"0.01": 500.0, "0.025": 990.0, "0.25": 1000.0, "inf": 1000.0}
    stable = Counts(1000.0, seconds={"native": times})
    slow = Counts(1000.0, seconds={"native": {**times, "0.025": 750.0}})
    assert block(stable, stable, slow, Limits()) == {"slower": False, "stragglers": True}
    # Also where the stable version has no requests any more.
    assert block(stable, Counts(), slow, Limits()) == {"slower": False, "stragglers": True}
    assert block(stable, stable, Counts(3.0, seconds={"native": {"0.01": 0.0, "inf": 3.0}}), Limits()) is None


def test_one_pause_of_a_candidate_makes_many_requests_slow_and_is_not_held_against_it() -> None:
    paused, fine = {"slower": True, "stragglers": True}, {"slower": False, "stragglers": False}
    found = judge(Counts(100.0), Counts(100.0), [paused, *[fine] * 8], None, Limits())
    assert {each.decision for each in found if each.check in fine} == {Decision.GOOD}
    found = judge(Counts(100.0), Counts(100.0), [paused] * 9, None, Limits())
    assert {each.decision for each in found if each.check in fine} == {Decision.BAD}


def test_without_enough_requests_of_the_stable_version_nothing_is_decided() -> None:
    found = judge(Counts(10.0), Counts(0.0, 10.0), [], None, Limits())
    assert [each.decision for each in found] == [Decision.MORE]


def test_counts_are_those_of_the_version_and_leave_out_what_clients_did_wrong() -> None:
    def sample(name: str, value: float, **labels: str) -> Sample:
        return Sample({"__name__": name, **labels}, value)

    samples = [
        *(
            sample("textserve_requests_total", value, version="green", protocol="native", outcome=outcome)
            for outcome, value in [("ok", 7), ("internal", 2), ("overloaded", 3), ("empty_input", 99), ("cancelled", 9)]
        ),
        sample("textserve_requests_total", 50, version="blue", protocol="native", outcome="ok"),
        sample("haproxy_server_response_errors_total", 4, proxy="http", server="green"),
        sample("haproxy_server_connection_errors_total", 1, proxy="grpc", server="blue"),
        sample("textserve_request_seconds_bucket", 5, version="green", protocol="native", le="0.005"),
        sample("textserve_request_seconds_bucket", 7, version="green", protocol="native", le="+Inf"),
        sample("textserve_predictions_total", 8, version="green", label="positive"),
    ]
    assert count(samples, "green") == Counts(7, 6, 3, {"native": {"0.005": 5, "inf": 7}}, {"positive": 8})
    blue = count(samples, "blue")
    assert blue is not None
    assert (blue.answered, blue.failed) == (50, 1)
    assert count(samples[6:7], "green") is None
    assert Counts(3.0).restarted(Counts(4.0))
    assert not Counts(4.0).restarted(Counts(4.0))
    # Also before it has answered again. The proxy counts failures too.
    assert Counts(labels={"positive": 0.0}).restarted(Counts(labels={"positive": 1.0}))
    assert Counts(seconds={"native": {"inf": 1.0}}).restarted(Counts(seconds={"native": {"inf": 2.0}}))
    assert Counts().restarted(Counts(seconds={"native": {"inf": 2.0}}))
    assert not Counts(failed=1.0).restarted(Counts(failed=2.0))
