"""A thread of the runner, and what the watchdog sees of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Worker(threading.Thread):
    """A thread that computes batches.

    Attributes:
        batches: the number of batches that it has computed, failed ones included.
        busy: whether it computes a batch now.
        tokens: the tokens of the batch that it computes now, else 0.
    """

    def __init__(self, number: int, work: Callable[[Worker], None]) -> None:
        super().__init__(name=f"runner-{number}", daemon=True)
        self._do = work
        self.batches = 0
        self.busy = False
        self.tokens = 0
        self._busy_seconds = 0.0
        self._since = 0.0

    def run(self) -> None:
        """Work until the runner stops."""
        self._do(self)

    @property
    def busy_seconds(self) -> float:
        """Seconds that it has computed, including the batch that it computes now."""
        return self._busy_seconds + (time.perf_counter() - self._since if self.busy else 0.0)

    def begin(self, tokens: int) -> None:
        """Note that a batch of ``tokens`` tokens begins."""
        self.tokens = tokens
        self._since = time.perf_counter()
        self.busy = True

    def end(self) -> None:
        """Note that a batch ends, or that there was none to compute."""
        seconds = self.busy_seconds
        self.busy, self.tokens = False, 0
        self._busy_seconds = seconds
        self.batches += 1
