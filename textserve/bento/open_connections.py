"""What the connections of HTTP share: their limit, and the certificate."""

from __future__ import annotations

import logging
from typing import Protocol

from textserve.flood import FloodLog
from textserve.metrics import ConnectionMetrics
from textserve.tls import Certificate

logger = logging.getLogger(__name__)

# Connections beyond the limit that are answered before they are closed; others are closed at once.
ANSWERED = 16
# How long a connection is idle before it may give way: the request of a newer one may have arrived and not been read.
GRACE_SECONDS = 0.1


class Idling(Protocol):
    """A connection."""

    @property
    def idle_since(self) -> float | None:
        """When its last request was answered; ``None`` while there is one."""

    def close_idle(self) -> None:
        """Close it."""


class OpenConnections:
    """At most ``limit`` connections; one that is idle gives way."""

    def __init__(self, limit: int, metrics: ConnectionMetrics, certificate: Certificate | None = None) -> None:
        self.certificate = certificate
        self._limit = limit
        self._metrics = metrics
        self._open: set[Idling] = set()
        self._refused = FloodLog(
            logger, f"%d connections refused: {limit} are open, the limit of TEXTSERVE_MAX_CONNECTIONS or of open files"
        )

    def add(self, connection: Idling, now: float) -> bool:
        """Count a connection made ``now``, in the event loop's seconds, and return whether it may be served."""
        self._open.add(connection)
        self._metrics.open(len(self._open))
        if len(self._open) <= self._limit:
            return True
        since = {other: other.idle_since for other in self._open if other is not connection}
        idle = {other: began for other, began in since.items() if began is not None and began <= now - GRACE_SECONDS}
        if idle:
            oldest = min(idle, key=idle.__getitem__)
            self.remove(oldest)
            oldest.close_idle()
            return True
        self._refused.add()
        self._metrics.refused()
        return False

    @property
    def crowded(self) -> bool:
        """Whether there is no room even for an answer."""
        return len(self._open) > self._limit + ANSWERED

    def remove(self, connection: Idling) -> None:
        """The connection is closed."""
        self._open.discard(connection)
        self._metrics.open(len(self._open))
