"""Runs a rollout: sets the proxy's weights as planned, and judges the candidate at each step."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from operate.checks import Finding, Limits, Mirrored, block, judge
from operate.counts import METRICS, Counts, count
from operate.errors import OperateError
from operate.haproxy import BACKENDS, HAProxy
from operate.mirror import comparing
from operate.plan import Rollout
from operate.prometheus import newest
from operate.sequential import Decision
from operate.state import StateFile

# Consecutive looks that must find the candidate not ready; HAProxy checks several times before it says so.
UNREADY_LOOKS = 2


@dataclass(frozen=True)
class Where:
    """The parts that a rollout works with: the proxy, the state, and the address of Prometheus, http://HOST:PORT."""

    proxy: HAProxy
    state: StateFile
    prometheus: str


@dataclass(frozen=True)
class Mirror:
    """Where mirrored texts arrive, and the addresses of both versions, http://HOST:PORT."""

    listen: tuple[str, int]
    versions: tuple[str, str]


@dataclass(frozen=True)
class Pace:
    """Seconds between two looks, seconds that a step may take, and what to do with a step undecided by then.

    Raises :class:`OperateError` if the seconds are out of range.
    """

    look: float = 2.0
    step: float = 3600.0
    undecided: str = "abort"

    def __post_init__(self) -> None:
        if not 0 < self.look <= threading.TIMEOUT_MAX:
            raise OperateError(f"seconds between two looks: expected more than 0; found: {self.look}")
        if not self.step >= 0:
            raise OperateError(f"seconds for a step: expected 0 or more; found: {self.step}")


def wait_ready(proxy: HAProxy, version: str, seconds: float) -> None:
    """Wait until HAProxy runs and finds a version ready; raises :class:`OperateError` after ``seconds``."""
    pause, deadline = threading.Event(), time.monotonic() + seconds
    while True:
        with contextlib.suppress(OperateError):
            if proxy.ready(version):
                return
        if time.monotonic() > deadline:
            raise OperateError(
                f"{version} is not ready after {seconds:.0f} s; look at its /readyz, and at HAProxy's log"
            )
        pause.wait(0.2)


def _check(where: Where, rollout: Rollout) -> None:
    """Raise an :class:`OperateError` if a rollout is running, the candidate has requests, or a version is not ready."""
    before = where.state.read()
    if before is not None and before.status == "running":
        raise OperateError(f"a rollout of {before.candidate} is running; abort it or promote it first")
    shares = where.proxy.share(rollout.candidate)
    if any(shares.values()):
        raise OperateError(
            f"{rollout.candidate} gets {max(shares.values())} % of the requests already, so it is no candidate; "
            f"roll out {rollout.stable}"
        )
    for version in (rollout.stable, rollout.candidate):
        if not where.proxy.ready(version):
            raise OperateError(f"{version} is not ready: HAProxy finds it down; look at its /readyz and its log")


def end(where: Where, reason: str | None) -> Rollout:
    """Abort the rollout for ``reason``, or promote its candidate if that is None; return the rollout.

    The weights of a rollout that has ended are set again, which repairs them if something else has changed them.
    Raises :class:`OperateError` if there has been no rollout, or the version to go back to is not ready.
    """
    with where.state.locked():
        rollout = where.state.read()
        if rollout is None:
            raise OperateError(f"{where.state.path}: there is no rollout; start one")
        if reason is not None and rollout.status == "promoted":
            # Go back to the previous version, if it still runs.
            if not where.proxy.ready(rollout.stable):
                raise OperateError(f"{rollout.stable} is not ready, so nothing changes; deploy the image to go back to")
            rollout = replace(rollout, status="aborted", reason=reason)
        elif reason is None:
            rollout = rollout.promoted()
        else:
            rollout = rollout.aborted(reason)
        where.state.write(rollout)
        where.proxy.route(rollout.candidate, rollout.stable, rollout.share)
        return rollout


def status(where: Where) -> str:
    """The state of the rollout and the shares that HAProxy gives, as text for a person."""
    rollout, slots = where.state.read(), where.proxy.slots()
    said = "no rollout so far"
    if rollout is not None:
        step = f", step {rollout.step + 1} of {len(rollout.steps)}" if rollout.steps else ", on mirrored texts only"
        said = f"{rollout.status}: {rollout.candidate}{step if rollout.status == 'running' else ''}"
        said += f" ({rollout.reason})" if rollout.reason else ""
    lines = [said]
    for version in slots:
        shares = where.proxy.share(version)
        ready = "ready" if all(slot.up for slot in slots[version].values()) else "not ready"
        lines.append(f"{version}: {', '.join(f'{shares[each]} % of {each}' for each in BACKENDS)}, {ready}")
    return "\n".join(lines)


def roll_out(
    where: Where, rollout: Rollout, limits: Limits, pace: Pace, mirror: Mirror | None, say: Callable[[str], None]
) -> Rollout:
    """Give the candidate its first share, and judge it until the rollout ends, here or by another process; return it.

    If this process ends first, the traffic stays as it is. A rollout that mirrors needs ``mirror``. Raises
    :class:`OperateError`, before any traffic moves, if a rollout is running, the candidate gets requests, a version is
    not ready, or the mirror's port is taken; later if HAProxy does not answer, or at Ctrl-C. While Prometheus does not
    answer, the rollout waits.
    """
    judging = Judging(where, limits, pace, say)
    with contextlib.ExitStack() as open_:
        with where.state.locked():
            _check(where, rollout)
            comparer = open_.enter_context(comparing(mirror.listen, mirror.versions)) if mirror else None
            # The state is written first: after a crash between the two lines, abort knows what to undo.
            where.state.write(rollout)
            where.proxy.route(rollout.candidate, rollout.stable, rollout.share)
        pause = threading.Event()
        while True:
            rollout = judging.look(comparer.counted if comparer else Mirrored())
            if rollout.status != "running":
                return rollout
            try:
                pause.wait(pace.look)
            except KeyboardInterrupt:
                raise OperateError("interrupted: the traffic stays as it is; status, promote and abort work") from None


class Judging:
    """Judges a rollout at each look, and remembers what it needs for the next look."""

    def __init__(self, where: Where, limits: Limits, pace: Pace, say: Callable[[str], None]) -> None:
        self._where, self._limits, self._pace, self._say = where, limits, pace, say
        self._unready = 0
        self._step: int | None = None
        self._began = time.monotonic()
        self._mirrored_before = Mirrored()
        self._counts_before: dict[str, Counts] = {}
        self._blocks: list[dict[str, bool]] = []
        self._block_base: dict[str, Counts] = {}

    def look(self, mirrored: Mirrored) -> Rollout:
        """Read the state, the proxy and the counts; apply the decision, and return the rollout."""
        where = self._where
        with where.state.locked():
            rollout = where.state.read()
            if rollout is None:
                raise OperateError(f"{where.state.path}: the state is gone; HAProxy keeps the weights it has")
            if rollout.status != "running":
                return rollout
            if rollout.step != self._step:
                self._say(f"{rollout.candidate}: {rollout.share} % of the requests")
                self._step, self._began, self._mirrored_before = rollout.step, time.monotonic(), mirrored
                self._blocks, self._block_base = [], {}
            texts, disagreed = mirrored.texts - self._mirrored_before.texts, mirrored.disagreed
            following = self._following(rollout, Mirrored(texts, disagreed - self._mirrored_before.disagreed))
            if following != rollout:
                where.state.write(following)
                if following.share != rollout.share:
                    where.proxy.route(following.candidate, following.stable, following.share)
            return following

    def _following(self, rollout: Rollout, mirrored: Mirrored) -> Rollout:
        self._unready = 0 if self._where.proxy.ready(rollout.candidate) else self._unready + 1
        if self._unready >= UNREADY_LOOKS:
            return rollout.aborted(f"{rollout.candidate} stopped being ready")
        findings: list[Finding] = []
        counts = self._counts(rollout)
        if counts is not None:
            stable, candidate = (counts[version] for version in (rollout.stable, rollout.candidate))
            before, self._counts_before = self._counts_before or counts, counts
            if candidate.restarted(before[rollout.candidate]):
                return rollout.aborted(f"{rollout.candidate} restarted")
            # The proxy counts some of the failures: if they became fewer, it has restarted.
            fewer = any(now.failed < before[version].failed for version, now in counts.items())
            if not rollout.base or fewer or stable.restarted(before[rollout.stable]):
                self._block_base = {}
                # If the stable version gets no requests, everything that it has answered counts.
                base = {rollout.stable: Counts() if rollout.share == 100 else stable, rollout.candidate: candidate}
                return replace(rollout, base=base)
            since = stable.since(rollout.base[rollout.stable])
            self._add_block(since, stable, candidate, rollout)
            texts = mirrored if rollout.mirror else None
            findings = judge(since, candidate.since(rollout.base[rollout.candidate]), self._blocks, texts, self._limits)
        decisions = {finding.decision for finding in findings}
        if bad := [finding for finding in findings if finding.decision is Decision.BAD]:
            return rollout.aborted("; ".join(f"{finding.check}: {finding.why}" for finding in bad))
        if decisions == {Decision.GOOD}:
            return rollout.passed()
        if time.monotonic() - self._began > self._pace.step:
            waiting = [f"{each.check}: {each.why}" for each in findings if each.decision is Decision.MORE]
            why = "; ".join(waiting) or "no counts from Prometheus"
            reason = f"no decision at {rollout.share} % within {self._pace.step:.0f} s: {why}"
            return rollout.passed(reason) if self._pace.undecided == "promote" else rollout.aborted(reason)
        return replace(rollout, mirrored=(mirrored.texts, mirrored.disagreed))

    def _add_block(self, since: Counts, stable: Counts, candidate: Counts, rollout: Rollout) -> None:
        """Judge the time since the last block, once the candidate has had enough requests."""
        if self._block_base:
            now = (stable.since(self._block_base[rollout.stable]), candidate.since(self._block_base[rollout.candidate]))
            found = block(since, *now, self._limits)
            if found is None:
                return
            self._blocks.append(found)
        self._block_base = {rollout.stable: stable, rollout.candidate: candidate}

    def _counts(self, rollout: Rollout) -> dict[str, Counts] | None:
        """The counts of both versions, or None if Prometheus does not have them."""
        try:
            samples = newest(self._where.prometheus, METRICS)
        except OperateError as error:
            self._say(str(error))
            return None
        stable, candidate = (count(samples, version) for version in (rollout.stable, rollout.candidate))
        if stable is None or candidate is None:
            return None
        return {rollout.stable: stable, rollout.candidate: candidate}
