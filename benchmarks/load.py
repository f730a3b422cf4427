"""The load generator: clients in a separate process.

    with LoadGenerator(cores={1}) as load:
        latencies = load.closed_loop(url, bodies, connections=16, seconds=5.0)

In a closed loop, each client sends its next request after the answer to the previous one. It measures throughput, and
latency at a given concurrency; an open loop measures overload.
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
# Above any number in flight; otherwise requests would queue in the client instead of the server.
OPEN_CONNECTIONS = 10_000
PROBE_SECONDS = 0.005


@dataclass(frozen=True)
class Latencies:
    """Measurements of the clients over ``seconds``.

    ``answers`` are the latencies of responses with status 200 in seconds, float64 of shape ``[answers]``, including
    late responses to requests sent in time; ``in_time`` excludes those. ``errors`` counts all other outcomes by status
    or exception name. ``generator_share`` is the share of a core that the clients used: near 1, the clients were the
    bottleneck. ``span_seconds`` ends with the last response.
    """

    seconds: float
    answers: npt.NDArray[np.float64]
    in_time: int
    errors: Counter[str]
    generator_share: float
    span_seconds: float = float("nan")

    @property
    def per_second(self) -> float:
        """Successful responses per second, within ``seconds``."""
        return self.in_time / self.seconds

    @property
    def per_second_of_span(self) -> float:
        """Successful responses per second until the last one: fair to servers that answer in few, large batches."""
        return len(self.answers) / self.span_seconds if len(self.answers) else 0.0

    def percentile(self, percent: float) -> float:
        """Percentile of the latency in milliseconds; NaN without successful responses."""
        return float(np.percentile(self.answers, percent) * 1000) if len(self.answers) else float("nan")


@dataclass(frozen=True)
class Flood:
    """Outcomes of ``sent`` requests: answered (200), or refused (429), possibly without a Retry-After header.

    All others are errors of ``answered``.
    """

    seconds: float
    sent: int
    answered: Latencies
    refused: Latencies
    without_retry_after: int


async def closed_loop(url: str, bodies: Sequence[bytes], connections: int, seconds: float) -> Latencies:
    """Post ``bodies`` cyclically over kept-alive connections; a client waits as long as a ``Retry-After`` header says.

    Args:
        url: an HTTP URL, or ``grpc://HOST:PORT/SERVICE/METHOD``.
        bodies: the request bodies.
        connections: number of clients, each with one request at a time.
        seconds: how long to send new requests.
    """
    requests = itertools.cycle(bodies)
    answers: list[float] = []
    errors: Counter[str] = Counter()
    in_time, last = 0, float("nan")

    async def loop(client: Client) -> None:
        nonlocal in_time, last
        while (sent := time.perf_counter()) < end:
            try:
                answer = await client.post(next(requests))
            except (OSError, TimeoutError) as error:
                errors[type(error).__name__] += 1
                await asyncio.sleep(0.01)  # no tight loop against a dead server
                continue
            if answer.status != 200:
                errors[str(answer.status)] += 1
                await asyncio.sleep(min(answer.retry_after, max(0.0, end - time.perf_counter())))
                continue
            last = time.perf_counter()
            answers.append(last - sent)
            in_time += last <= end

    async with _clients(url, connections) as clients:
        used, start = time.process_time(), time.perf_counter()
        end = start + seconds
        await asyncio.gather(*(loop(client) for client in clients))
        share = (time.process_time() - used) / (time.perf_counter() - start)
    return Latencies(seconds, np.array(answers), in_time, errors, share, last - start)


async def open_loop(url: str, bodies: Sequence[bytes], per_second: float, seconds: float) -> Flood:
    """Post ``bodies`` cyclically at a fixed rate, then wait for all responses."""
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

    async with _session(OPEN_CONNECTIONS, JSON) as session, asyncio.TaskGroup() as clients:
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
    """Measure the latency of GET ``url`` every ``PROBE_SECONDS`` over one connection."""
    answers: list[float] = []
    errors: Counter[str] = Counter()
    async with _session(1, {}) as session:
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


async def post(url: str, bodies: Sequence[bytes], connections: int) -> list[Answer]:
    """Post each of ``bodies`` once, ``connections`` at a time, and return the answers in the same order."""
    waiting = list(enumerate(bodies))[::-1]
    answers = [Answer(0, b"")] * len(bodies)

    async def loop(client: Client) -> None:
        while waiting:
            index, body = waiting.pop()
            try:
                answers[index] = await client.post(body)
            except (OSError, TimeoutError) as error:
                answers[index] = Answer(0, repr(error).encode())

    async with _clients(url, connections) as clients:
        await asyncio.gather(*(loop(client) for client in clients))
    return answers


class LoadGenerator:
    """Runs the functions of this module in a process pinned to ``cores``."""

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
        """Stop the process, immediately if the block raised."""
        if kind is not None:
            for process in list(self._pool._processes.values()):
                process.terminate()
        self._pool.shutdown(cancel_futures=True)

    def closed_loop(self, url: str, bodies: Sequence[bytes], connections: int, seconds: float) -> Latencies:
        """See the function of this name."""
        return self._pool.submit(_run, closed_loop, url, bodies, connections, seconds).result()

    def open_loop(self, url: str, bodies: Sequence[bytes], per_second: float, seconds: float) -> Flood:
        """See the function of this name."""
        return self._pool.submit(_run, open_loop, url, bodies, per_second, seconds).result()

    def probe(self, url: str, seconds: float) -> Latencies:
        """See the function of this name."""
        return self._pool.submit(_run, probe, url, seconds).result()

    def post(self, url: str, bodies: Sequence[bytes], connections: int) -> list[Answer]:
        """See the function of this name."""
        return self._pool.submit(_run, post, url, bodies, connections).result()


@contextlib.asynccontextmanager
async def _clients(url: str, count: int) -> AsyncIterator[list[Client]]:
    clients = [client_of(url, TIMEOUT_SECONDS) for _ in range(count)]
    try:
        yield clients
    finally:
        for client in clients:
            await client.close()


def _session(connections: int, headers: Mapping[str, str]) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections),
        timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS),
        headers=headers,
        cookie_jar=aiohttp.DummyCookieJar(),
    )


def _start(cores: set[int]) -> None:
    os.sched_setaffinity(0, cores)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the benchmark handles Ctrl-C and stops this process


def _run(measure: Callable[..., Coroutine[Any, Any, Measured]], *arguments: Any) -> Measured:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        # Garbage collection in the clients would count as server latency.
        gc.disable()
        try:
            return runner.run(measure(*arguments))
        finally:
            gc.enable()
