"""Log lines for events that may come by the thousand: one line a minute, with the number of events."""

from __future__ import annotations

import logging
import threading

SECONDS = 60.0


class FloodLog:
    """Logs an event at once, and further events within ``seconds`` as one line with their number. Thread-safe."""

    def __init__(self, logger: logging.Logger, message: str, seconds: float = SECONDS) -> None:
        """``message`` has one ``%d``, for the number of events."""
        self._logger = logger
        self._message = message
        self._seconds = seconds
        self._lock = threading.Lock()
        self._count = 0
        self._timer: threading.Timer | None = None

    def add(self) -> None:
        """Log an event, or count it for the next line."""
        with self._lock:
            self._count += 1
            if self._timer is None:
                self._write()

    def _write(self) -> None:
        self._logger.warning(self._message, self._count)
        self._count = 0
        self._timer = threading.Timer(self._seconds, self._elapsed)
        self._timer.daemon = True
        self._timer.start()

    def _elapsed(self) -> None:
        with self._lock:
            self._timer = None
            if self._count:
                self._write()
