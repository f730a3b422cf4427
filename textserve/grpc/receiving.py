"""Bounds the memory of messages that are being received.

gRPC's server has no limit of memory: it buffers every message that a handler waits for, and lets its client take as
long as it likes. So the handlers take a slot before they wait. Until then gRPC buffers no more than the stream's
window.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from textserve.errors import InvalidRequest, ReceiveTimeout

# Messages received at once. One that fits into the window, as most do, has its slot for microseconds.
SLOTS = 16
# How long a message may take while others wait for a slot, in seconds.
CONTENDED_SECONDS = 0.5


class Receiving:
    """Receives one message for each call, within ``seconds``."""

    def __init__(self, seconds: float, slots: int = SLOTS) -> None:
        self._seconds = seconds
        self._slots = slots
        # The time limit of each message that is being received, and when that began.
        self._open: dict[asyncio.Timeout, float] = {}
        self._waiting: list[asyncio.Future[None]] = []

    async def message(self, messages: AsyncIterator[bytes]) -> bytes:
        """The first of ``messages``.

        Raises:
            ReceiveTimeout: if it is not received in time, or takes long while others wait.
            InvalidRequest: if there is none.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._seconds) as limit:
                while len(self._open) >= self._slots:
                    await self._slot(loop)
                self._open[limit] = loop.time()
                async for message in messages:
                    return message
        except TimeoutError:
            raise ReceiveTimeout("was not received in time", where="message") from None
        finally:
            if self._open.pop(limit, None) is not None and self._waiting:
                # The newest first: those that have waited longest are most likely an attacker's.
                self._waiting.pop().set_result(None)
        raise InvalidRequest("is missing", where="message")

    async def _slot(self, loop: asyncio.AbstractEventLoop) -> None:
        slot: asyncio.Future[None] = loop.create_future()
        self._waiting.append(slot)
        oldest, began = next(iter(self._open.items()))
        ends = max(loop.time(), began + CONTENDED_SECONDS)
        if (limit := oldest.when()) is None or ends < limit:
            oldest.reschedule(ends)
        try:
            await slot
        finally:
            if slot in self._waiting:
                self._waiting.remove(slot)
