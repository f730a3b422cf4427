"""Whether the queue has room for one more request, and when to come back if not.

The measure is tokens, not requests: a request may be one word or a thousand pages. How long waiting tokens take follows
from the speed actually achieved, so a busy neighbour or a throttled container shortens the queue by itself.
"""

from __future__ import annotations

from textserve.errors import Overloaded

# Weight of the newest batch in the moving average of tokens computed a second, and where that average starts: a few
# dozen batches, less than a second, replace it.
RATE_WEIGHT = 0.1
ASSUMED_TOKENS_PER_SECOND = 5000.0


class Admission:
    """Bounds the queue in time and in memory.

    Args:
        max_queue_seconds: how long a request may have to wait before its first text is computed.
        max_waiting_tokens: how many tokens may wait in all.
        workers: batches computed at the same time.
    """

    def __init__(self, max_queue_seconds: float, max_waiting_tokens: int, workers: int) -> None:
        self._max_queue_seconds = max_queue_seconds
        self._max_waiting_tokens = max_waiting_tokens
        self._workers = workers
        self._tokens_per_second = ASSUMED_TOKENS_PER_SECOND * workers

    def computed(self, tokens: int, seconds: float) -> None:
        """Learn from a batch how fast one worker computes while it works."""
        self._tokens_per_second += RATE_WEIGHT * (tokens / seconds * self._workers - self._tokens_per_second)

    def check(self, tokens: int, *, waiting: int, ahead: int) -> None:
        """Admit a request of ``tokens``; an empty queue admits a request of any size.

        Args:
            tokens: how many the request has.
            waiting: tokens that wait already.
            ahead: how many of them are computed before the first text of this request.

        Raises:
            Overloaded: with the seconds until what waits has been computed.
        """
        if waiting and waiting + tokens > self._max_waiting_tokens:
            raise Overloaded(
                f"{waiting} tokens are waiting, {self._max_waiting_tokens} may; come back later",
                retry_after=waiting / self._tokens_per_second,
            )
        seconds = ahead / self._tokens_per_second
        if seconds > self._max_queue_seconds:
            raise Overloaded(
                f"the queue is {seconds:.1f} s long, {self._max_queue_seconds:g} s are allowed; come back later",
                retry_after=seconds,
            )
