"""Bounds the memory of messages that are being received.

gRPC's server has no limit of memory: it buffers every message that a handler waits for, and lets its client take as
long as it likes. So the handlers take a slot before they wait. Until then gRPC buffers no more than the stream's
window.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from math import inf

from grpc.aio import EOF

from textserve.errors import InvalidRequest, ReceiveTimeout

# Messages received at once. A message that fits into the window, as most do, holds its slot for microseconds.
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

    async def message(self, read: Callable[[], Awaitable[bytes]]) -> bytes:
        """Receive a message with ``read``, which may return gRPC's ``EOF``.

        Raises:
            ReceiveTimeout: if it is not received in time, or takes long while others wait.
            InvalidRequest: if the client ends the stream without a message.
        """
        try:
            async with asyncio.timeout(self._seconds) as limit:
                while len(self._open) >= self._slots:
                    await self._slot()
                self._open[limit] = time.monotonic()
                message = await read()
        except TimeoutError:
            raise ReceiveTimeout("was not received in time", where="message") from None
        finally:
            if self._open.pop(limit, None) is not None:
                self._wake()
        if message is EOF:
            raise InvalidRequest("is missing", where="message")
        return message

    async def _slot(self) -> None:
        slot: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(slot)
        self._hurry()
        try:
            await slot
        except asyncio.CancelledError:
            if slot in self._waiting:
                self._waiting.remove(slot)
            else:
                self._wake()  # another call, in place of this one
            raise

    def _wake(self) -> None:
        """Pass a free slot to the newest waiting call: the oldest ones are most likely an attacker's."""
        while self._waiting:
            slot = self._waiting.pop()
            if not slot.done():
                slot.set_result(None)
                break
        if self._waiting:
            self._hurry()

    def _hurry(self) -> None:
        """Shorten the time limit of the oldest message that is being received."""
        for limit, began in self._open.items():
            if not limit.expired():
                loop = asyncio.get_running_loop()
                left = max(0.0, began + CONTENDED_SECONDS - time.monotonic())
                limit.reschedule(min(loop.time() + left, limit.when() or inf))
                return
