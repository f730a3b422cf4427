"""The load: clients that each send a request, read the answer and send the next, from a process of its own.

    with LoadGenerator(cores={1}) as load:
        latencies = load.closed_loop(url, bodies, connections=16, seconds=5.0)

or, within an event loop, ``await closed_loop(url, bodies, connections=16, seconds=5.0)``.

A closed loop never sends faster than it is answered: it measures how much a server does, and how long one waits with
so many others; not how it behaves when more arrives than it can do.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

import aiohttp
import numpy as np
import numpy.typing as npt
import uvloop

from benchmarks.clients import JSON, Answer, Client, client_of

Measured = TypeVar("Measured")

TIMEOUT_SECONDS = 60.0
# More than are ever in flight: what is sent beyond them would wait here and not at the server.
OPEN_CONNECTIONS = 10_000
PROBE_SECONDS = 0.005


@dataclass(frozen=True)
class Latencies:
    """What the clients saw in ``seconds``.

    ``answers`` are the seconds that each good answer took, float64 of shape ``[answers]``, with those that came after
    the end for requests sent before it; ``in_time`` is how many came before the end. ``errors`` counts, by status or
    by the name of the exception, what was not answered with 200. ``generator_share`` is the part of a core that the
    clients used: near 1 they, and not the server, were the limit. ``span_seconds`` ends with the last answer.
    """

    seconds: float
    answers: npt.NDArray[np.float64]
    in_time: int
    errors: Counter[str]
    generator_share: float
    span_seconds: float = float("nan")

    @property
    def per_second(self) -> float:
        """Good answers a second, until the end."""
        return self.in_time / self.seconds

    @property
    def per_second_of_span(self) -> float:
        """Good answers a second, until the last: fair to a server that answers in few and large batches."""
        return len(self.answers) / self.span_seconds if len(self.answers) else 0.0

    def percentile(self, percent: float) -> float:
        """Milliseconds within which ``percent`` of the good answers came; not a number if none did."""
        return float(np.percentile(self.answers, percent) * 1000) if len(self.answers) else float("nan")


@dataclass(frozen=True)
class Flood:
    """What became of ``sent`` requests: answered with 200, or refused with 429, some of those with no Retry-After.

    Everything else is among the errors of ``answered``.
    """

    seconds: float
    sent: int
    answered: Latencies
    refused: Latencies
    without_retry_after: int


async def closed_loop(
    url: str,
    bodies: Sequence[bytes],
    connections: int,
    seconds: float,
    *,
    headers: Mapping[str, str] = JSON,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> Latencies:
    """Post ``bodies`` one after the other, again from the first after the last, over kept-alive connections.

    Args:
        url: where to post; ``grpc://HOST:PORT/SERVICE/METHOD`` calls a method.
        bodies: the requests.
        connections: how many clients there are, each with one request at a time.
        seconds: for how long new requests are sent.
        headers: of every request.
        timeout_seconds: after which a request counts as an error.
    """
    requests = itertools.cycle(bodies)
    answers: list[float] = []
    errors: Counter[str] = Counter()
    in_time, last = 0, float("nan")

    async def loop(client: Client) -> None:
        nonlocal in_time, last
        while (sent := time.perf_counter()) < end:
            try:
                answer = await client.ask(next(requests))
            except (OSError, TimeoutError) as error:
                errors[type(error).__name__] += 1
                await asyncio.sleep(0.01)  # a server that is gone is not to be asked in a tight loop
                continue
            if answer.status != 200:
                errors[str(answer.status)] += 1
                continue
            last = time.perf_counter()
            answers.append(last - sent)
            in_time += last <= end

    async with _clients(url, connections, headers, timeout_seconds) as clients:
        used, start = time.process_time(), time.perf_counter()
        end = start + seconds
        await asyncio.gather(*(loop(client) for client in clients))
        share = (time.process_time() - used) / (time.perf_counter() - start)
    return Latencies(seconds, np.array(answers), in_time, errors, share, last - start)


async def open_loop(url: str, bodies: Sequence[bytes], per_second: float, seconds: float) -> Flood:
    """Post ``bodies``, again from the first after the last, ``per_second`` of them whether answered or not.

    Returns once every request is answered.
    """
    requests = itertools.cycle(bodies)
    answered: list[float] = []
    refused: list[float] = []
    errors: Counter[str] = Counter()
    in_time = without_retry_after = 0

    async def client(session: aiohttp.ClientSession) -> None:
        nonlocal in_time, without_retry_after
        sent = time.perf_counter()
        try:
            async with session.post(url, data=next(requests)) as response:
                await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            errors[type(error).__name__] += 1
            return
        now = time.perf_counter()
        if response.status == 200:
            answered.append(now - sent)
            in_time += now <= end
        elif response.status == 429:
            refused.append(now - sent)
            without_retry_after += not response.headers.get("retry-after", "").isdigit()
        else:
            errors[str(response.status)] += 1

    async with _session(OPEN_CONNECTIONS, JSON, TIMEOUT_SECONDS) as session, asyncio.TaskGroup() as clients:
        used, start = time.process_time(), time.perf_counter()
        end = start + seconds
        sent = 0
        while (now := time.perf_counter()) < end:
            due = int((now - start) * per_second)
            for _ in range(sent, due):
                clients.create_task(client(session))
            sent = max(sent, due)
            await asyncio.sleep(0.001)
        share = (time.process_time() - used) / (time.perf_counter() - start)
    return Flood(
        seconds,
        sent,
        Latencies(seconds, np.array(answered), in_time, errors, share),
        Latencies(seconds, np.array(refused), len(refused), Counter(), share),
        without_retry_after,
    )


async def probe(url: str, seconds: float) -> Latencies:
    """Get ``url`` every ``PROBE_SECONDS`` over one connection, and see how long it takes."""
    answers: list[float] = []
    errors: Counter[str] = Counter()
    async with _session(1, {}, TIMEOUT_SECONDS) as session:
        end = time.perf_counter() + seconds
        while (sent := time.perf_counter()) < end:
            async with session.get(url) as response:
                await response.read()
            if response.status == 200:
                answers.append(time.perf_counter() - sent)
            else:
                errors[str(response.status)] += 1
            await asyncio.sleep(PROBE_SECONDS)
    return Latencies(seconds, np.array(answers), len(answers), errors, 0.0)


async def ask(
    url: str,
    bodies: Sequence[bytes],
    connections: int,
    *,
    headers: Mapping[str, str] = JSON,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> list[Answer]:
    """Post each of ``bodies`` once, ``connections`` at a time; their answers in the same order."""
    waiting = list(enumerate(bodies))[::-1]
    answers = [Answer(0, b"")] * len(bodies)

    async def loop(client: Client) -> None:
        while waiting:
            place, body = waiting.pop()
            try:
                answers[place] = await client.ask(body)
            except (OSError, TimeoutError) as error:
                answers[place] = Answer(0, repr(error).encode())

    async with _clients(url, connections, headers, timeout_seconds) as clients:
        await asyncio.gather(*(loop(client) for client in clients))
    return answers


class LoadGenerator:
    """Runs :func:`closed_loop` and :func:`ask` in a process of its own that is kept to ``cores``."""

    def __init__(self, cores: Collection[int]) -> None:
        self.cores = set(cores)
        self._pool = ProcessPoolExecutor(
            1, mp_context=multiprocessing.get_context("spawn"), initializer=_start, initargs=(set(cores),)
        )

    def __enter__(self) -> LoadGenerator:
        """Start the process."""
        self._pool.submit(os.getpid).result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process, in the middle of its work if the block was left by an error."""
        if kind is not None:
            for process in list(self._pool._processes.values()):
                process.terminate()
        self._pool.shutdown(cancel_futures=True)

    def closed_loop(self, url: str, bodies: Sequence[bytes], connections: int, seconds: float) -> Latencies:
        """As the function of this name, for the process of this object."""
        return self._pool.submit(_run, closed_loop, url, bodies, connections, seconds).result()

    def open_loop(self, url: str, bodies: Sequence[bytes], per_second: float, seconds: float) -> Flood:
        """As the function of this name, for the process of this object."""
        return self._pool.submit(_run, open_loop, url, bodies, per_second, seconds).result()

    def probe(self, url: str, seconds: float) -> Latencies:
        """As the function of this name, for the process of this object."""
        return self._pool.submit(_run, probe, url, seconds).result()

    def ask(self, url: str, bodies: Sequence[bytes], connections: int) -> list[Answer]:
        """As the function of this name, for the process of this object."""
        return self._pool.submit(_run, ask, url, bodies, connections).result()


@contextlib.asynccontextmanager
async def _clients(
    url: str, count: int, headers: Mapping[str, str], timeout_seconds: float
) -> AsyncIterator[list[Client]]:
    clients = [client_of(url, headers, timeout_seconds) for _ in range(count)]
    try:
        yield clients
    finally:
        for client in clients:
            await client.close()


def _session(connections: int, headers: Mapping[str, str], timeout_seconds: float) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections),
        timeout=aiohttp.ClientTimeout(total=timeout_seconds),
        headers=headers,
        cookie_jar=aiohttp.DummyCookieJar(),
    )


def _start(cores: set[int]) -> None:
    os.sched_setaffinity(0, cores)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the benchmark, which then ends this process


def _run(measure: Callable[..., Coroutine[Any, Any, Measured]], *arguments: Any) -> Measured:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        # A pause of the clients' garbage collector would be counted as the server's.
        gc.disable()
        try:
            return runner.run(measure(*arguments))
        finally:
            gc.enable()
