"""A thread of the runner, and what the watchdog sees of it."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Worker(threading.Thread):
    """A thread that computes batches.

    Attributes:
        batches: the number of batches that it has computed, failed ones included.
        busy: whether it computes one now.
    """

    def __init__(self, number: int, work: Callable[[Worker], None]) -> None:
        super().__init__(name=f"runner-{number}", daemon=True)
        self._do = work
        self.batches = 0
        self.busy = False

    def run(self) -> None:
        """Work until the runner stops."""
        self._do(self)
