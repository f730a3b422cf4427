"""Bounds the memory of long bodies, received or being received, of all requests that are not answered yet."""

from __future__ import annotations

import asyncio
import time

from textserve.errors import Overloaded

# uvicorn holds as much of any body before it is read.
SHORT_BYTES = 65_536
# A body that takes longer gives way to others, in seconds.
SLOW_SECONDS = 1.0


class BodyMemory:
    """The bytes of long bodies of all requests, at most ``limit``."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.total = 0
        # Those still being received, the oldest first.
        self.receiving: dict[BodyShare, float] = {}


class BodyShare:
    """The share of one request: :meth:`add` what it holds, and :meth:`release` it once it is answered."""

    __slots__ = ("_bytes", "_memory", "_timeout")

    def __init__(self, memory: BodyMemory) -> None:
        self._memory = memory
        self._bytes = 0
        self._timeout: asyncio.Timeout | None = None

    def receive(self, timeout: asyncio.Timeout) -> None:
        """Start receiving a long body; if others need the memory and it is slow, ``timeout`` ends."""
        self._timeout = timeout
        self._memory.receiving[self] = time.monotonic()

    def add(self, size: int) -> None:
        """Hold ``size`` more bytes.

        Raises:
            Overloaded: if there is no room, and the slow bodies could not make it.
        """
        self._make_room(self._memory.total + size - self._memory.limit)
        self._memory.total += size
        self._bytes += size

    def received(self) -> None:
        """The body is complete."""
        self._memory.receiving.pop(self, None)

    def release(self) -> None:
        """Hold nothing."""
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
                f"of all requests exceeds {self._memory.limit} bytes at present; retry later",
                where="body",
                retry_after=1,
            )
        for share in slow:
            if excess > 0 and share._bytes and share._timeout is not None:
                excess -= share._bytes
                share._timeout.reschedule(0)
                share.release()
