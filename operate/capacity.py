"""How many pods a load needs, and what an autoscaler loses while it follows a day's load; computed, not measured."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

DAY = 86_400


@dataclass(frozen=True)
class Autoscaler:
    """KEDA's ScaledObject and Kubernetes' HorizontalPodAutoscaler as deploy/kubernetes/keda/scaler.yaml sets them.

    ``utilisation`` is the target: busy seconds per second and pod. Times are in seconds: the window of ``rate()``,
    between two decisions, and for how long the largest wish counts before pods go (stabilization). ``up`` is the share
    of pods that may be added in a period, ``down`` that which may go in a minute. A pod that is added answers ``start``
    seconds later: its node must have room and the image.
    """

    least: int
    most: int
    utilisation: float
    window: int = 60
    period: int = 15
    stabilization: int = 300
    up: float = 1.0
    down: float = 0.2
    start: int = 20


@dataclass(frozen=True)
class Outcome:
    """A simulated day: requests and those rejected, the most pods, and the mean number of pods."""

    requests: float
    lost: float
    most_pods: int
    mean_pods: float


def pods(load: float, rate: float, utilisation: float, zones: int = 1) -> int:
    """Pods for ``load`` texts a second where a pod computes ``rate``, so that they are busy for ``utilisation``.

    With several ``zones`` the pods that remain after one is lost can still answer everything. Raises
    :class:`ValueError` unless rate and utilisation are above 0.
    """
    if rate <= 0 or not 0 < utilisation <= 1 or load < 0 or zones < 1:
        raise ValueError(f"no number of pods for {load} texts a second, {rate} a pod, utilisation {utilisation}")
    needed = max(1, math.ceil(load / (rate * utilisation)))
    if zones > 1:
        # An even spread, of which a zone's part may go.
        remaining = max(1, math.ceil(load / rate))
        needed = max(needed, zones * math.ceil(remaining / (zones - 1)))
    return needed


def day_with_spike(night: float, noon: float, spike: float, *, at: int = 12 * 3600, lasting: int = 600) -> list[float]:
    """The texts a second of each second of a day: a sine from ``night`` to ``noon``, and for a while ``spike``."""
    middle, swing = (noon + night) / 2, (noon - night) / 2
    load = [middle - swing * math.cos(2 * math.pi * second / DAY) for second in range(DAY)]
    load[at : at + lasting] = [spike] * lasting
    return load


def simulate(load: Sequence[float], rate: float, scaler: Autoscaler, queue_seconds: float = 2.0) -> Outcome:
    """Follow ``load`` (texts a second, by second) with pods that compute ``rate`` each; a longer queue is rejected."""
    current, starting = scaler.least, deque[int]()  # seconds at which pods begin to answer
    busy: deque[float] = deque(maxlen=scaler.window)
    wishes: deque[int] = deque(maxlen=max(1, scaler.stabilization // scaler.period))
    lost, waiting, total, most = 0.0, 0.0, 0.0, current
    gone = 0  # pods that went in this minute
    for second, arriving in enumerate(load):
        while starting and starting[0] <= second:
            starting.popleft()
        serving = current - len(starting)
        computed = min(waiting + arriving, serving * rate)
        waiting += arriving - computed
        rejected = max(0.0, waiting - serving * rate * queue_seconds)
        waiting, lost = waiting - rejected, lost + rejected
        busy.append(computed / rate)
        gone = 0 if second % 60 == 0 else gone
        if second % scaler.period == 0:
            wish = min(max(math.ceil(sum(busy) / len(busy) / scaler.utilisation), scaler.least), scaler.most)
            wishes.append(wish)
            if wish > current:
                added = min(wish, current + math.ceil(scaler.up * current)) - current
                starting.extend([second + scaler.start] * added)
                current += added
            elif max(wishes) < current:
                removed = min(current - max(wishes), max(1, int(scaler.down * current)) - gone, current - len(starting))
                current, gone = current - max(0, removed), gone + max(0, removed)
        total, most = total + current, max(most, current)
    return Outcome(sum(load), lost, most, total / len(load))


def table(header: Sequence[str], rows: Sequence[Sequence[object]], say: Callable[[str], None]) -> None:
    """Print a table in Markdown."""
    for row in (header, ["---"] * len(header), *rows):
        say(f"| {' | '.join(map(str, row))} |")
