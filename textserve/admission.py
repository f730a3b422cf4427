"""Whether the queue has room for another request, and when to retry if not.

The measure is tokens, not requests: a request may be one word or a thousand pages. Waiting time is estimated from the
measured speed, so a busy neighbour or a throttled container shortens the queue automatically.
"""

from __future__ import annotations

from textserve.errors import Overloaded

# Weight of the newest batch in the moving average of tokens per second, and the average's start, which a few dozen
# batches, less than a second, replace.
RATE_WEIGHT = 0.1
ASSUMED_TOKENS_PER_SECOND = 5000.0


class Admission:
    """Bounds the queue in time and memory.

    Args:
        max_queue_seconds: longest wait before a request's first text is computed.
        max_waiting_tokens: most tokens in the queue.
        workers: batches computed in parallel.
    """

    def __init__(self, max_queue_seconds: float, max_waiting_tokens: int, workers: int) -> None:
        self._max_queue_seconds = max_queue_seconds
        self._max_waiting_tokens = max_waiting_tokens
        self._workers = workers
        self._tokens_per_second = ASSUMED_TOKENS_PER_SECOND * workers

    def computed(self, tokens: int, seconds: float) -> None:
        """Update the speed of one worker from a computed batch."""
        self._tokens_per_second += RATE_WEIGHT * (tokens / seconds * self._workers - self._tokens_per_second)

    def check(self, tokens: int, *, waiting: int, ahead: int) -> None:
        """Admit a request of ``tokens`` tokens; an empty queue admits a request of any size.

        Args:
            tokens: tokens of the request.
            waiting: tokens in the queue.
            ahead: those of them that are computed before this request's first text.

        Raises:
            Overloaded: with ``retry_after``, the seconds until the queue has been computed.
        """
        if waiting and waiting + tokens > self._max_waiting_tokens:
            raise Overloaded(
                f"{waiting} tokens are waiting, the limit is {self._max_waiting_tokens}; retry later",
                retry_after=waiting / self._tokens_per_second,
            )
        seconds = ahead / self._tokens_per_second
        if seconds > self._max_queue_seconds:
            raise Overloaded(
                f"the queue is {seconds:.1f} s long, the limit is {self._max_queue_seconds:g} s; retry later",
                retry_after=seconds,
            )
