from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from textserve.errors import Internal
from textserve.runner import Runner
from textserve.watchdog import ROUNDS, Watchdog

PATIENCE = 60.0
STALL_SECONDS = 0.2


class Watched:
    """A watchdog of a fake runner with two workers, and what it has done."""

    def __init__(self) -> None:
        self.workers = [SimpleWorker(), SimpleWorker()]
        self.runner = SimpleNamespace(workers=self.workers, failing=False, waiting=False, close=self._close)
        self.watchdog = Watchdog(cast(Runner, self.runner), STALL_SECONDS)
        self.closed = False
        self.close_error: Exception | None = None
        self.ended = asyncio.Event()
        self.probes = 0

    async def _close(self, seconds: float) -> None:
        assert seconds == 0
        self.closed = True
        if self.close_error is not None:
            raise self.close_error

    async def probe(self) -> None:
        self.probes += 1
        raise Internal("still failing")

    def end(self) -> None:
        assert self.closed
        self.ended.set()

    async def problem(self) -> str:
        await until(lambda: self.watchdog.problem is not None)
        return str(self.watchdog.problem)

    async def rounds(self, count: int) -> None:
        """Wait for rounds of the watch."""
        seen = 0

        async def check() -> None:
            nonlocal seen
            seen += 1

        self.watchdog.checks.append(check)
        await until(lambda: seen >= count)
        self.watchdog.checks.remove(check)


class SimpleWorker:
    batches = 0
    busy = False
    lives = True

    def is_alive(self) -> bool:
        return self.lives


@contextlib.asynccontextmanager
async def watched() -> AsyncIterator[Watched]:
    made = Watched()
    watching = asyncio.create_task(made.watchdog.watch(made.probe, made.end))
    try:
        async with asyncio.timeout(PATIENCE):
            yield made
    finally:
        watching.cancel()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0)


def run(test: Callable[[], Any]) -> None:
    asyncio.run(test())


@pytest.mark.parametrize("waiting", [True, False])
def test_a_stalled_worker_is_a_problem_and_the_end_of_the_process(waiting: bool) -> None:
    async def test() -> None:
        async with watched() as service:
            service.workers[1].busy = not waiting
            service.runner.waiting = waiting
            service.workers[0].batches = 3
            assert service.watchdog.problem is None
            assert "no batch for 0.2 s" in await service.problem()
            assert service.watchdog.alive
            await until(lambda: not service.watchdog.alive)
            assert not service.ended.is_set()
            await service.ended.wait()

    run(test)


def test_the_process_ends_though_the_runner_cannot_be_closed() -> None:
    async def test() -> None:
        async with watched() as service:
            service.close_error = RuntimeError("can't start new thread")
            service.workers[0].busy = True
            await service.ended.wait()

    run(test)


def test_a_worker_that_goes_on_is_no_problem_any_more() -> None:
    async def test() -> None:
        async with watched() as service:
            service.workers[0].busy = True
            await service.problem()
            service.workers[0].batches += 1
            await until(lambda: service.watchdog.problem is None)
            service.workers[0].busy = False
            await service.rounds(4 * ROUNDS)
            assert service.watchdog.problem is None
            assert service.watchdog.alive

    run(test)


def test_an_idle_service_has_no_problem() -> None:
    async def test() -> None:
        async with watched() as service:
            await service.rounds(4 * ROUNDS)
            assert service.watchdog.problem is None

    run(test)


def test_a_dead_worker_is_a_problem_at_once() -> None:
    async def test() -> None:
        async with watched() as service:
            service.workers[1].lives = False
            assert service.watchdog.problem == "a worker thread has died"
            await service.ended.wait()

    run(test)


def test_a_failing_model_is_probed_until_it_recovers() -> None:
    async def test() -> None:
        async with watched() as service:
            service.runner.failing = True
            assert "batches have failed" in await service.problem()
            await until(lambda: service.probes >= 2)
            service.runner.failing = False
            assert service.watchdog.problem is None
            await service.rounds(4 * ROUNDS)
            assert not service.ended.is_set()

    run(test)


def test_a_check_is_a_problem_that_does_not_end_the_process(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with watched() as service:
            found: str | None = "the port is closed"

            async def check() -> str | None:
                return found

            service.watchdog.checks.append(check)
            assert await service.problem() == "the port is closed"
            await service.rounds(4 * ROUNDS)
            assert service.watchdog.alive
            found = None
            await until(lambda: service.watchdog.problem is None)
            await service.rounds(1)

    run(test)
    assert [record.message for record in caplog.records] == ["not ready: the port is closed", "ready again"]


def test_a_check_that_raises_does_not_end_the_watch(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with watched() as service:

            async def check() -> str | None:
                raise RuntimeError

            service.watchdog.checks.append(check)
            service.workers[1].busy = True
            await service.ended.wait()

    run(test)
    assert "the watchdog cannot check the service" in caplog.text
