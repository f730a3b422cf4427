"""Updates of metrics, made in bulk.

An update on its own costs more than one of many in a row, whose code is then in the processor's caches.
"""

from __future__ import annotations

import functools
import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec

from prometheus_client import CollectorRegistry, Metric

from textserve.flood import FloodLog

broken = FloodLog(logging.getLogger(__name__), "%d updates of metrics failed; answers do not depend on them")

# Updates that wait at most, so that they take less than a millisecond.
LIMIT = 64

P = ParamSpec("P")


class Recorded:
    """Metrics whose methods with :func:`recorded` take effect at the next scrape, or after ``LIMIT`` updates.

    The methods may be called on any thread. What an update does must be thread-safe if several threads record.
    """

    def __init__(self, metrics_registry: CollectorRegistry) -> None:
        """Register before the metrics that the updates change, since a scrape reads them in order."""
        self._updates: deque[Callable[[], None]] = deque()
        metrics_registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """Make the updates; called by prometheus_client. One that fails is logged: it must not fail a request."""
        while True:
            try:
                update = self._updates.popleft()
            except IndexError:  # perhaps since another thread has made the last one
                return ()
            try:
                update()
            except Exception:
                broken.add()


def recorded(method: Callable[P, None]) -> Callable[P, None]:
    """Make a method of a :class:`Recorded` an update, made later; it never raises."""

    @functools.wraps(method)
    def record(*args: P.args, **kwargs: P.kwargs) -> None:
        recorder: Any = args[0]
        recorder._updates.append(functools.partial(method, *args, **kwargs))
        if len(recorder._updates) >= LIMIT:
            recorder.collect()

    return record
