"""The order in which the service stops, once it is told to.

At the signal the application leaves: it is no longer ready, and answers on for ``TEXTSERVE_STOP_DELAY_SECONDS``, in
which whoever sends requests here notices. Then the HTTP server gets the signal, stops accepting and waits for what it
has. What is not answered ``TEXTSERVE_DRAIN_SECONDS`` later is refused, and the process ends. Servers beside HTTP watch
the application and do the same.
"""

from __future__ import annotations

import asyncio
import logging
import math
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

from textserve.application import Application

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# What the HTTP server's own limit is longer than ours: time for the refusals to be sent.
SENDING_SECONDS = 1.0

Handler = Callable[[int, FrameType | None], Any]


class Stopping:
    """Comes before the HTTP server's handlers of the signals; make it once that server has set them, in its loop."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._loop = asyncio.get_running_loop()
        self._told = False
        self._task: asyncio.Task[None] | None = None
        self._server_handlers: dict[int, Handler] = {}
        for number in SIGNALS:
            handler = signal.getsignal(number)
            if callable(handler):
                self._server_handlers[number] = handler
                _limit(handler, application.settings.drain_seconds + SENDING_SECONDS)
                signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._told:
            # Whoever says it again does not want to wait: the server stops accepting now.
            self._server_handlers[number](number, frame)
        else:
            self._told = True
            self._loop.call_soon_threadsafe(self._start, number)

    def _start(self, number: int) -> None:
        self._application.leave()
        self._task = asyncio.create_task(self._stop(number))

    async def _stop(self, number: int) -> None:
        settings = self._application.settings
        logger.info("told to stop; accepting for %g s more", settings.stop_delay_seconds)
        await asyncio.sleep(settings.stop_delay_seconds)
        self._server_handlers[number](number, None)
        await asyncio.sleep(settings.drain_seconds)
        await self._application.abandon()


def _limit(handler: Handler, seconds: float) -> None:
    """Give uvicorn, whose handler it is, a limit for what it waits for, if it was started without one.

    BentoML takes it from its command line only; without it a client that never finishes its request, or never reads its
    answer, keeps the process for good.
    """
    config = getattr(getattr(handler, "__self__", None), "config", None)
    if config is not None and getattr(config, "timeout_graceful_shutdown", 0) is None:
        config.timeout_graceful_shutdown = math.ceil(seconds)
