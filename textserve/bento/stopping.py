"""The graceful shutdown of the service.

At the signal the application leaves: it is no longer ready, but answers for ``TEXTSERVE_STOP_DELAY_SECONDS``, in which
load balancers notice. Then uvicorn gets the signal, stops accepting and waits for the requests in flight. Those not
answered ``TEXTSERVE_DRAIN_SECONDS`` later are rejected, and the process exits. Servers beside HTTP watch the
application and do the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

from textserve.application import Application

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Sent when a terminal is closed. Python's default would end the process at once.
HANGUP = signal.SIGHUP
# Added to the drain time for uvicorn's limit: the time to send the rejections.
SENDING_SECONDS = 1.0

Handler = Callable[[int, FrameType | None], Any]


class Stopping:
    """Handles the signals before uvicorn does; create it in uvicorn's event loop, once uvicorn has set its handlers."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._loop = asyncio.get_running_loop()
        self._leaving = False
        # Set once the delay is over, and uvicorn stops accepting.
        self._stops = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._uvicorn = replace_uvicorn_handlers(self._receive, application.settings.drain_seconds + SENDING_SECONDS)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if not self._leaving:
            self._leaving = True
            self._loop.call_soon_threadsafe(self._start, number)
        elif not self._stops.is_set():
            # A second signal skips the delay. uvicorn gets only one: at two, it would abandon the requests in flight.
            self._loop.call_soon_threadsafe(self._stops.set)
        else:
            self._uvicorn[number](number, frame)

    def _start(self, number: int) -> None:
        self._application.leave()
        self._task = asyncio.create_task(self._stop(number))

    async def _stop(self, number: int) -> None:
        settings = self._application.settings
        logger.info("shutdown requested; accepting requests for another %g s", settings.stop_delay_seconds)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stops.wait(), settings.stop_delay_seconds)
        self._stops.set()
        self._uvicorn[number](number, None)
        await asyncio.sleep(settings.drain_seconds)
        await self._application.abandon()


def replace_uvicorn_handlers(handler: Handler, drain_seconds: float) -> dict[int, Handler]:
    """Set ``handler`` for ``SIGNALS``, return uvicorn's by signal, and limit how long uvicorn waits for its clients.

    Checked with BentoML 1.4.39 and uvicorn 0.54. Neither has a hook that runs at the signal: BentoML's ``on_shutdown``
    runs after uvicorn has stopped accepting. BentoML sets uvicorn's ``timeout_graceful_shutdown`` from its command line
    only; without it a client that never finishes its request, or never reads its answer, keeps the process running. A
    limit from the command line is kept. Handlers of any other server are replaced, without a limit.
    """
    replaced: dict[int, Handler] = {}
    for number in SIGNALS:
        previous = signal.getsignal(number)
        if callable(previous):
            replaced[number] = previous
            config = getattr(getattr(previous, "__self__", None), "config", None)
            if config is not None and getattr(config, "timeout_graceful_shutdown", 0) is None:
                config.timeout_graceful_shutdown = math.ceil(drain_seconds)
            signal.signal(number, handler)
    if signal.SIGTERM in replaced and signal.getsignal(HANGUP) is signal.SIG_DFL:
        # Not if it is ignored, as under nohup.
        signal.signal(HANGUP, lambda number, frame: handler(signal.SIGTERM, frame))
    return replaced
