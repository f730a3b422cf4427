"""Judges a candidate by the counts of both versions; each check is a sequential test of one share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from operate.counts import Counts
from operate.errors import OperateError
from operate.sequential import Decision, Sprt

# Fewest requests of the stable version from which its shares are known well enough.
BASELINE = 50
# Fewest requests of the candidate in a block of time.
BLOCK = 10


@dataclass(frozen=True)
class Limits:
    """The limits of the checks: a candidate is good up to the first share of a pair, and bad from the second on.

    The shares, from 0 to 1, are added to the stable version's share; ``blocks`` and ``disagreement`` are compared
    as they are. ``alpha`` and ``beta`` are the error rates of :class:`~operate.sequential.Sprt`. Raises
    :class:`OperateError` unless the first share of each pair is below the second.
    """

    failures: tuple[float, float] = (0.005, 0.03)
    refusals: tuple[float, float] = (0.01, 0.06)
    # The share of requests slower than the median, and than the 95th percentile, of the stable version.
    slower: tuple[float, float] = (0.10, 0.30)
    stragglers: tuple[float, float] = (0.05, 0.15)
    # The share of blocks of time whose excess of slow requests is above the mean of a pair above.
    blocks: tuple[float, float] = (0.3, 0.7)
    # The share of texts with one label, which may be neither larger nor smaller.
    labels: tuple[float, float] = (0.05, 0.20)
    disagreement: tuple[float, float] = (0.05, 0.20)
    alpha: float = 0.001
    beta: float = 0.01

    def __post_init__(self) -> None:
        for name in ("failures", "refusals", "slower", "stragglers", "blocks", "labels", "disagreement"):
            good, bad = getattr(self, name)
            if not (good >= 0 and Sprt.clipped(good) < Sprt.clipped(bad)):
                raise OperateError(
                    f"{name}: expected shares from 0 to 1, the good one below the bad one; found: {good} and {bad}"
                )


@dataclass(frozen=True)
class Mirrored:
    """The number of texts sent to both versions, and how many of them got different labels."""

    texts: int = 0
    disagreed: int = 0


@dataclass(frozen=True)
class Finding:
    """The result of a check: its name, its decision, and the numbers behind it."""

    check: str
    decision: Decision
    why: str


def judge(
    stable: Counts,
    candidate: Counts,
    blocks: Sequence[Mapping[str, bool]],
    mirrored: Mirrored | None,
    limits: Limits,
) -> list[Finding]:
    """Run all checks on the counts of one step; the candidate has passed once every decision is ``GOOD``.

    ``blocks`` has for each block of time whether the candidate was slower (:func:`block`); ``mirrored`` is None if no
    texts are mirrored.
    """
    baseline = stable.answered + stable.failed
    if baseline < BASELINE:
        return [Finding("baseline", Decision.MORE, f"{baseline:.0f} of {BASELINE} requests of the stable version")]
    tried, refused = candidate.answered + candidate.failed, (candidate.refused, candidate.requests)
    found = [
        _against("failures", limits.failures, limits, (stable.failed, baseline), (candidate.failed, tried)),
        _against("refusals", limits.refusals, limits, (stable.refused, stable.requests), refused),
        *_latency(blocks, limits),
        *_labels(stable, candidate, limits),
    ]
    if mirrored is not None:
        good, bad = limits.disagreement
        decision = Sprt(good, bad, limits.alpha, limits.beta).decide(mirrored.disagreed, mirrored.texts)
        why = f"{mirrored.disagreed} of {mirrored.texts} mirrored texts got another label (from {bad:.1%} on bad)"
        found.append(Finding("disagreement", decision, why))
    return found


def _against(
    check: str, margins: tuple[float, float], limits: Limits, stable: tuple[float, float], seen: tuple[float, float]
) -> Finding:
    """Test a share, as (hits, total), against the stable version's plus the margins."""
    expected = stable[0] / stable[1] if stable[1] else 0.0
    good, bad = (min(expected + margin, 1.0) for margin in margins)
    if Sprt.clipped(good) >= Sprt.clipped(bad):
        # The stable version's share is so high that no share can be worse.
        return Finding(check, Decision.GOOD, f"{expected:.1%} of the stable version's")
    decision = Sprt(good, bad, limits.alpha, limits.beta).decide(*seen)
    return Finding(check, decision, f"{seen[0]:.0f} of {seen[1]:.0f}, stable {expected:.1%} (from {bad:.1%} on bad)")


def block(stable: Counts, stable_now: Counts, candidate_now: Counts, limits: Limits) -> dict[str, bool] | None:
    """Whether the candidate was slower in a block of time, by check; None if a version had too few requests.

    ``stable`` counts all requests of the step, ``stable_now`` and ``candidate_now`` the requests of the block. Blocks
    are counted instead of requests, because slow requests are not independent: they come in groups, whenever a process
    has to wait for a core. The protocol with most requests of the candidate is compared, by the histogram bounds that
    half, and a twentieth, of the stable version's requests exceed.
    """
    totals = {name: by.get("inf", 0.0) for name, by in candidate_now.seconds.items() if name in stable.seconds}
    protocol = max(totals, key=lambda name: totals[name], default=None)
    if protocol is None or totals[protocol] < BLOCK or stable.seconds[protocol].get("inf", 0.0) < BASELINE:
        return None
    within, now = stable.seconds[protocol], stable_now.seconds.get(protocol, {})
    worse = {}
    for check, margins, most in (("slower", limits.slower, 0.5), ("stragglers", limits.stragglers, 0.05)):
        bound = min((each for each in within if within[each] >= within["inf"] * (1 - most)), key=float)
        # If the stable version gets no requests now, take what it has answered before.
        beside = now if now.get("inf", 0.0) >= BLOCK else within
        more = _beyond(candidate_now.seconds[protocol], bound) - _beyond(beside, bound)
        worse[check] = more > sum(margins) / 2
    return worse


def _beyond(within: Mapping[str, float], bound: str) -> float:
    return 1 - within.get(bound, 0.0) / within["inf"]


def _latency(blocks: Sequence[Mapping[str, bool]], limits: Limits) -> Iterator[Finding]:
    """Test the share of blocks in which the candidate was slower."""
    good, bad = limits.blocks
    for check in ("slower", "stragglers"):
        worse = sum(each[check] for each in blocks)
        decision = Sprt(good, bad, limits.alpha, limits.beta).decide(worse, len(blocks))
        yield Finding(check, decision, f"in {worse} of {len(blocks)} blocks of time (from {bad:.0%} on bad)")


def _labels(stable: Counts, candidate: Counts, limits: Limits) -> Iterator[Finding]:
    """Compare the share of each label, which may be neither much larger nor much smaller."""
    names = sorted(stable.labels.keys() | candidate.labels.keys())
    before, seen = sum(stable.labels.values()), sum(candidate.labels.values())
    for name in names:
        check = f"label {name}"
        if before < BASELINE:
            yield Finding(check, Decision.MORE, f"{before:.0f} of {BASELINE} texts of the stable version")
            continue
        was, now = stable.labels.get(name, 0.0), candidate.labels.get(name, 0.0)
        more = _against(check, limits.labels, limits, (was, before), (now, seen))
        less = _against(check, limits.labels, limits, (before - was, before), (seen - now, seen))
        yield max(more, less, key=lambda each: [Decision.GOOD, Decision.MORE, Decision.BAD].index(each.decision))
