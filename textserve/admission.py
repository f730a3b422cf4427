"""Whether the queue has room for another request, and when to retry if not.

The measure is tokens, not requests: a request may be one word or a thousand pages. Waiting time is estimated from the
measured speed, so a busy neighbour or a throttled container shortens the queue automatically.
"""

from __future__ import annotations

from math import inf

from textserve.errors import DeadlineExceeded, Overloaded, RequestTooLarge
from textserve.settings import Settings

# Weight of the newest batch in the moving average of tokens per second, and the start of the average if nothing was
# measured: a few dozen batches, less than a second, replace it.
RATE_WEIGHT = 0.1
ASSUMED_TOKENS_PER_SECOND = 5000.0


class Admission:
    """Bounds the queue in time and memory.

    Two speeds are measured. The speed of all batches tells how long the queue takes. The speed of large batches, which
    have little fixed cost per token, tells how long a request takes by itself.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tokens_per_second = ASSUMED_TOKENS_PER_SECOND * settings.threads
        self._large_tokens_per_second = self._tokens_per_second

    def measured(self, tokens: int, seconds: float) -> None:
        """Replace the assumed speed by the speed of a large batch that one worker has computed."""
        self._tokens_per_second = self._large_tokens_per_second = tokens / seconds * self._settings.threads

    def computed(self, tokens: int, seconds: float, *, spread: bool = False) -> None:
        """Update the speeds from a batch that one worker has computed, or, if it was ``spread``, all threads."""
        measured = tokens / seconds * (1 if spread else self._settings.threads)
        self._tokens_per_second += RATE_WEIGHT * (measured - self._tokens_per_second)
        # A small batch that is faster than large ones were shows that large ones have become faster too.
        if tokens >= self._settings.max_batch_tokens // 2 or measured > self._large_tokens_per_second:
            self._large_tokens_per_second += RATE_WEIGHT * (measured - self._large_tokens_per_second)

    def check(self, tokens: int, seconds: float = inf, *, waiting: int, ahead: int) -> None:
        """Admit a request of ``tokens`` tokens; an empty queue admits any that can be computed in time.

        Args:
            tokens: tokens of the request.
            seconds: the request's time limit.
            waiting: tokens in the queue.
            ahead: tokens that are computed before this request's first text, including the running batches.

        Raises:
            RequestTooLarge: if the request alone would take longer than the service's time limit.
            DeadlineExceeded: if it would take longer than ``seconds``.
            Overloaded: if the queue is too long; ``retry_after`` estimates the seconds until it has been computed.
        """
        settings = self._settings
        needed = tokens / self._large_tokens_per_second
        if needed > min(seconds, settings.request_seconds):
            message = f"needs about {needed:.1f} s for {tokens} tokens at this speed; send fewer or shorter texts"
            if needed > settings.request_seconds:
                raise RequestTooLarge(message, where="request")
            raise DeadlineExceeded(f"{message}, or allow more than {seconds:.1f} s", where="request")
        if waiting and waiting + tokens > settings.max_waiting_tokens:
            raise Overloaded(
                f"{waiting} tokens are waiting, the limit is {settings.max_waiting_tokens}; retry later",
                retry_after=waiting / self._tokens_per_second,
            )
        ahead_seconds = ahead / self._tokens_per_second
        if ahead_seconds > settings.max_queue_seconds:
            raise Overloaded(
                f"the queue is {ahead_seconds:.1f} s long, the limit is {settings.max_queue_seconds:g} s; retry later",
                retry_after=ahead_seconds,
            )
