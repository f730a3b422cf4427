"""Computes how many pods a load needs, and how many texts are rejected while an autoscaler follows a day's load."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

DAY = 86_400


@dataclass(frozen=True)
class Autoscaler:
    """KEDA's ScaledObject and Kubernetes' HorizontalPodAutoscaler as deploy/kubernetes/keda/scaler.yaml sets them.

    ``least`` and ``most`` bound the number of pods; ``utilisation`` is the target, in busy seconds per second and pod.
    Times are in seconds: the ``window`` of ``rate()``, the ``period`` between two decisions, and ``stabilization``, for
    which the largest wish counts before pods are removed. ``up`` is the share of pods that may be added in a period,
    ``down`` the share removed in a minute. A new pod answers after ``start``, on a node with room and the image.
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
    """A simulated day: texts that arrived and texts that were rejected, the most pods, and the mean number of pods."""

    requests: float
    lost: float
    most_pods: int
    mean_pods: float


def pods(load: float, rate: float, utilisation: float, zones: int = 1) -> int:
    """Pods for ``load`` texts a second, each of which computes ``rate`` and is busy for the share ``utilisation``.

    With several ``zones``, the pods that remain after a zone is lost can still answer everything. Raises
    :class:`ValueError` if an argument is out of range, such as a rate or utilisation of 0.
    """
    if rate <= 0 or not 0 < utilisation <= 1 or load < 0 or zones < 1:
        raise ValueError(f"no number of pods for {load} texts a second, {rate} a pod, utilisation {utilisation}")
    needed = max(1, math.ceil(load / (rate * utilisation)))
    if zones > 1:
        # Pods are spread evenly over the zones, and one zone may be lost.
        remaining = max(1, math.ceil(load / rate))
        needed = max(needed, zones * math.ceil(remaining / (zones - 1)))
    return needed


def day_with_spike(night: float, noon: float, spike: float, *, at: int = 12 * 3600, lasting: int = 600) -> list[float]:
    """The texts in each second of a day: a sine from ``night`` to ``noon``, and ``spike`` for a while."""
    middle, swing = (noon + night) / 2, (noon - night) / 2
    load = [middle - swing * math.cos(2 * math.pi * second / DAY) for second in range(DAY)]
    load[at : at + lasting] = [spike] * lasting
    return load


def simulate(load: Sequence[float], rate: float, scaler: Autoscaler, queue_seconds: float = 2.0) -> Outcome:
    """Follow ``load``, the texts in each second, with pods that compute ``rate``; a longer queue is rejected."""
    current, starting = scaler.least, deque[int]()  # the seconds at which pods begin to answer
    busy: deque[float] = deque(maxlen=scaler.window)
    wishes: deque[int] = deque(maxlen=max(1, scaler.stabilization // scaler.period))
    lost, waiting, total, most = 0.0, 0.0, 0.0, current
    gone = 0  # pods removed in this minute
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
