"""Judges a candidate by the counts of both versions: each check is a sequential test of one share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from operate.counts import Counts
from operate.errors import OperateError
from operate.sequential import Decision, Sprt

# Fewer of the stable version say too little about it.
BASELINE = 50
# Requests of the candidate, at least, in a block of time.
BLOCK = 10


@dataclass(frozen=True)
class Limits:
    """How much worse than the stable version's a candidate's share may be, and how much worse it must not be.

    All are shares from 0 to 1, added to the stable version's share; those of ``blocks`` and ``disagreement`` stand
    alone. Of each pair: up to the first a candidate is good, from the second on bad. Raises :class:`OperateError`
    unless that leaves shares that are good, and shares that are bad.
    """

    failures: tuple[float, float] = (0.005, 0.03)
    refusals: tuple[float, float] = (0.01, 0.06)
    # Of requests that take longer than half, or a twentieth, of the stable version's.
    slower: tuple[float, float] = (0.10, 0.30)
    stragglers: tuple[float, float] = (0.05, 0.15)
    # Of the blocks of time in which that many more were slow as lies between the two.
    blocks: tuple[float, float] = (0.3, 0.7)
    # Of the texts with one label, more or less.
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
    """Texts that both versions were asked, and how many of them got another label from the candidate."""

    texts: int = 0
    disagreed: int = 0


@dataclass(frozen=True)
class Finding:
    """One check: its name, its decision, and the numbers behind it."""

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
    """All checks of a candidate, on the counts of one step; it has passed once every decision is ``GOOD``.

    ``blocks`` says of each block of time whether the candidate was slower (:func:`block`); ``mirrored`` is None if no
    texts are.
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
        # The stable version's share is so high that none can be worse.
        return Finding(check, Decision.GOOD, f"{expected:.1%} of the stable version's")
    decision = Sprt(good, bad, limits.alpha, limits.beta).decide(*seen)
    return Finding(check, decision, f"{seen[0]:.0f} of {seen[1]:.0f}, stable {expected:.1%} (from {bad:.1%} on bad)")


def block(stable: Counts, stable_now: Counts, candidate_now: Counts, limits: Limits) -> dict[str, bool] | None:
    """Whether the candidate was slower in a block of time, by check; None if it had too few requests in it.

    ``stable`` has all its requests of the step, ``…_now`` those of the block. Blocks are counted, and not requests:
    slow requests come in groups, whenever a process has to wait for a core, and a group says no more than one of them.
    Compared is the protocol with most requests of the candidate, by the bounds that half of the stable version's
    requests exceed, and a twentieth.
    """
    totals = {name: by.get("inf", 0.0) for name, by in candidate_now.seconds.items() if name in stable.seconds}
    protocol = max(totals, key=lambda name: totals[name], default=None)
    if protocol is None or totals[protocol] < BLOCK or stable.seconds[protocol].get("inf", 0.0) < BASELINE:
        return None
    within, now = stable.seconds[protocol], stable_now.seconds.get(protocol, {})
    worse = {}
    for check, margins, most in (("slower", limits.slower, 0.5), ("stragglers", limits.stragglers, 0.05)):
        bound = min((each for each in within if within[each] >= within["inf"] * (1 - most)), key=float)
        # Where the stable version gets no requests, what it has answered before.
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
