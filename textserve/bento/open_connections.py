"""What HTTP connections share: their limit, and the certificate."""

from __future__ import annotations

import logging
from typing import Protocol

from textserve.flood import FloodLog
from textserve.metrics import ConnectionMetrics
from textserve.tls import Certificate

logger = logging.getLogger(__name__)

# Connections beyond the limit that get an answer before they are closed; further ones are closed at once.
ANSWERED = 16
# Seconds that a connection must be idle to give way: a newer connection's request may have arrived, but not been read.
GRACE_SECONDS = 0.1


class Idling(Protocol):
    """A connection that may be idle."""

    @property
    def idle_since(self) -> float | None:
        """When its last request was answered; ``None`` while a request is unanswered."""

    def close_idle(self) -> None:
        """Close the idle connection."""


class OpenConnections:
    """At most ``limit`` connections; the one that has been idle longest gives way to a new one."""

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
        """Whether too many connections are open to answer a refused one."""
        return len(self._open) > self._limit + ANSWERED

    def remove(self, connection: Idling) -> None:
        """Stop counting a closed connection."""
        self._open.discard(connection)
        self._metrics.open(len(self._open))
