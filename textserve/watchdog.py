"""Checks whether the service is able to answer, and ends a process that is not and does not recover.

Time is counted in rounds of the event loop and not by the clock: a process that was suspended, or got no processor
time, has not stalled.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from textserve.errors import TextserveError
from textserve.runner import Runner
from textserve.worker import Worker

logger = logging.getLogger(__name__)

ROUNDS = 10  # without a finished batch, after which a worker counts as stalled
# After DEAD times ROUNDS of a problem with the workers, the service is not alive; after END times ROUNDS, it ends.
DEAD, END = 2, 3

Check = Callable[[], Awaitable[str | None]]


class Watchdog:
    """Watches the runner, and ``checks`` that others add.

    A worker has stalled if it finishes no batch within ``seconds`` although it computes one, or texts wait. A stalled
    or dead worker, or a model that fails every batch, makes the service unready; if it does not recover, the process
    ends, for its supervisor to start another. A problem that ``checks`` return only makes the service unready.
    """

    def __init__(self, runner: Runner, seconds: float) -> None:
        self._runner = runner
        self._interval = seconds / ROUNDS
        self._stalls: dict[Worker, tuple[int, int]] = {}
        self._bad_rounds = 0
        self._found: str | None = None
        self._logged: str | None = None
        self._probing: asyncio.Task[None] | None = None
        self.checks: list[Check] = []

    @property
    def problem(self) -> str | None:
        """Why the service cannot answer now; ``None`` if it can."""
        return self._worker_problem() or self._found

    @property
    def alive(self) -> bool:
        """Whether the service can still recover."""
        return self._bad_rounds < DEAD * ROUNDS

    async def watch(self, probe: Callable[[], Awaitable[object]], end: Callable[[], None]) -> None:
        """Watch until cancelled.

        Args:
            probe: computes a text, to notice that a failing model has recovered.
            end: ends the process.
        """
        while True:
            await asyncio.sleep(self._interval)
            try:
                await self._round(probe)
            except Exception:
                logger.exception("the watchdog cannot check the service")
            if self._bad_rounds >= END * ROUNDS:
                logger.critical("the process ends, since it has not recovered: %s", self.problem)
                try:
                    await self._runner.close(0)
                    await asyncio.sleep(self._interval)  # in which the last answers are sent
                finally:
                    end()

    async def _round(self, probe: Callable[[], Awaitable[object]]) -> None:
        self._count_stalls()
        self._bad_rounds = self._bad_rounds + 1 if self._worker_problem() else 0
        problems = [await check() for check in self.checks]
        self._found = next((problem for problem in problems if problem), None)
        problem = self.problem
        if problem != self._logged:
            self._logged = problem
            logger.error("not ready: %s", problem) if problem else logger.warning("ready again")
        if self._runner.failing and (self._probing is None or self._probing.done()):
            self._probing = asyncio.create_task(_probe(probe))

    def _worker_problem(self) -> str | None:
        runner = self._runner
        if not all(worker.is_alive() for worker in runner.workers):
            return "a worker thread has died"
        if any(rounds >= ROUNDS for _, rounds in self._stalls.values()):
            return f"a worker thread has finished no batch for {self._interval * ROUNDS:g} s"
        if runner.failing:
            return "the last batches have failed; the log has the errors"
        return None

    def _count_stalls(self) -> None:
        for worker in self._runner.workers:
            batches, rounds = self._stalls.get(worker, (-1, 0))
            stalls = worker.batches == batches and (worker.busy or self._runner.waiting)
            self._stalls[worker] = (worker.batches, rounds + 1 if stalls else 0)


async def _probe(probe: Callable[[], Awaitable[object]]) -> None:
    with contextlib.suppress(TextserveError):
        await probe()
