"""Limits the memory of long request bodies, from their first bytes until their requests are answered."""

from __future__ import annotations

import asyncio
import time

from textserve.errors import Overloaded

# uvicorn buffers as much of every body before it is read.
SHORT_BYTES = 65_536
# In seconds; a body that takes longer to arrive gives way to others that need the memory.
SLOW_SECONDS = 1.0


class BodyMemory:
    """The memory for the long bodies of all requests, at most ``limit`` bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.total = 0
        # The bodies still being received and their start times, the oldest first.
        self.receiving: dict[BodyShare, float] = {}


class BodyShare:
    """The share of one request: :meth:`add` the bytes that it holds; :meth:`release` them once it is answered."""

    __slots__ = ("_bytes", "_memory", "_timeout")

    def __init__(self, memory: BodyMemory) -> None:
        self._memory = memory
        self._bytes = 0
        self._timeout: asyncio.Timeout | None = None

    def receive(self, timeout: asyncio.Timeout) -> None:
        """Start receiving a long body; ``timeout`` expires if the body is slow and other requests need the memory."""
        self._timeout = timeout
        self._memory.receiving[self] = time.monotonic()

    def add(self, size: int) -> None:
        """Hold ``size`` more bytes.

        Raises:
            Overloaded: if the memory is full, and giving up all slow bodies would not free enough.
        """
        self._make_room(self._memory.total + size - self._memory.limit)
        self._memory.total += size
        self._bytes += size

    def received(self) -> None:
        """Mark the body as complete."""
        self._memory.receiving.pop(self, None)

    def release(self) -> None:
        """Give back all bytes of the share."""
        self.received()
        self._memory.total -= self._bytes
        self._bytes = 0

    def _make_room(self, excess: int) -> None:
        if excess <= 0:
            return
        receiving, now = self._memory.receiving, time.monotonic()
        slow = [share for share, began in receiving.items() if share is not self and now - began > SLOW_SECONDS]
        if sum(share._bytes for share in slow) < excess:
            raise Overloaded(
                f"does not fit now: all bodies together may have {self._memory.limit} bytes; retry later",
                where="body",
                retry_after=1,
            )
        for share in slow:
            if excess > 0 and share._bytes and share._timeout is not None:
                excess -= share._bytes
                share._timeout.reschedule(0)
                share.release()
