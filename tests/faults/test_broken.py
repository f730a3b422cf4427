"""What breaks inside: the service fails the requests that are touched, and says so once it cannot answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.faults.contained import Contained, contained
from tests.faults.honest import over_grpc
from tests.faults.report import Record
from tests.server import LIMIT_SECONDS, Server
from textserve.grpc.inference_pb2 import ServerReadyRequest, ServerReadyResponse

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3000)]

# TEXTSERVE_STALL_SECONDS: without a finished batch for so long, with work waiting, a service is not ready; three times
# as long, and it ends.
STALL_SECONDS = 10.0
# What a busy machine may add to that.
LATE_SECONDS = 10.0
# Failed batches in a row that make it unready.
FAILURES = 5
UNREADY = {"/readyz": 503, "/health": 503, "/v2/health/ready": 503, "grpc health": "NOT_SERVING", "ServerReady": False}
Break = Callable[[str], None]


@pytest.fixture
def broken(home: Path, tmp_path: Path, record: Record) -> Iterator[tuple[Contained, Break]]:
    """A service whose parts break once they are told to."""
    fault = tmp_path / "fault"

    def become(name: str) -> None:
        written = tmp_path / "written"
        written.write_text(name, encoding="ascii")
        written.rename(fault)

    # One thread, which one fault takes away.
    with contained(home, module="tests.faults.broken_start", FAULT_FILE=str(fault), TEXTSERVE_THREADS="1") as served:
        yield served, become
        record.peak_bytes = served.peak_bytes


def classify(server: Server) -> httpx.Response:
    return httpx.post(f"{server.url}/classify", json={"texts": ["Great!"]}, timeout=LIMIT_SECONDS)


def readiness(server: Server) -> dict[str, Any]:
    """What every health endpoint says: statuses over HTTP, and gRPC's names; ``None`` if gRPC does not answer."""
    found: dict[str, Any] = {
        path: httpx.get(server.url + path, timeout=LIMIT_SECONDS).status_code for path in list(UNREADY)[:3]
    }
    found["grpc health"] = found["ServerReady"] = None
    with (
        grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}", [("grpc.use_local_subchannel_pool", 1)]) as channel,
        contextlib.suppress(grpc.RpcError),
    ):
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=LIMIT_SECONDS)
        found["grpc health"] = health_pb2.HealthCheckResponse.ServingStatus.Name(health.status)
        ready = channel.unary_unary("/inference.GRPCInferenceService/ServerReady")
        answer = ready(ServerReadyRequest().SerializeToString(), timeout=LIMIT_SECONDS)
        found["ServerReady"] = ServerReadyResponse.FromString(answer).ready
    return found


def is_ready(server: Server) -> bool:
    return httpx.get(f"{server.url}/readyz", timeout=LIMIT_SECONDS).status_code == 200


def wait_unready(server: Server, seconds: float, expected: dict[str, Any] = UNREADY) -> float:
    """The seconds until the health endpoints say what is expected; fails if that takes longer than the argument."""
    start = time.monotonic()
    while (found := readiness(server)) != expected:
        assert time.monotonic() < start + seconds, f"after {seconds:g} s: {found}"
        time.sleep(0.05)
    return time.monotonic() - start


def counted(server: Server, outcome: str) -> bool:
    """Whether a request over the native protocol with this outcome has been counted."""
    metrics = httpx.get(f"{server.url}/metrics", timeout=LIMIT_SECONDS).text
    return f'textserve_requests_total{{outcome="{outcome}",protocol="native"}}' in metrics


@pytest.mark.parametrize(
    ("row", "fault"), [("5", "take"), ("5", "deliver"), ("5", "exit"), ("6", "raise"), ("7", "nan"), ("7", "infinity")]
)
def test_one_failed_batch_fails_its_own_requests_only(
    broken: tuple[Contained, Break], record: Record, row: str, fault: str
) -> None:
    served, become = broken
    record.row, record.name = row, f"once: {fault}"
    become(f"{fault}:once")
    first = classify(served.server)
    second = classify(served.server)
    record.happened = f"{first.status_code}, then {second.status_code}"
    json.loads(first.text, parse_constant=pytest.fail)
    # A batch that was not taken may be taken again.
    if not (fault == "take" and first.status_code == 200):
        assert (first.status_code, first.json()["error"]["type"]) == (500, "internal")
        assert counted(served.server, "internal")
    assert second.status_code == 200
    assert is_ready(served.server)


@pytest.mark.parametrize("fault", ["histograms", "counters", "gauges"])
def test_metrics_that_raise_keep_no_answer_back(broken: tuple[Contained, Break], record: Record, fault: str) -> None:
    served, become = broken
    record.row, record.name = "7", f"always: {fault}"
    become(fault)
    statuses = [classify(served.server).status_code for _ in range(FAILURES + 1)]

    async def ask() -> str:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{served.server.grpc_port}") as channel:
            return await over_grpc(channel, "The worst film I have seen.")

    over = asyncio.run(ask())
    record.happened = f"HTTP {statuses[-1]}, gRPC {over}"
    assert set(statuses) == {200}
    assert over == "ok"
    # The updates of metrics are made at a scrape.
    assert httpx.get(f"{served.server.url}/metrics", timeout=LIMIT_SECONDS).status_code == 200
    assert "updates of metrics failed" in served.server.log()
    assert is_ready(served.server)


@pytest.mark.parametrize("fault", ["take", "raise", "exit", "nan"])
def test_failures_in_a_row_are_not_ready(broken: tuple[Contained, Break], record: Record, fault: str) -> None:
    served, become = broken
    record.row, record.name = "6", f"always: {fault}"
    become(fault)
    statuses = [classify(served.server).status_code for _ in range(FAILURES)]
    assert set(statuses) == {500}
    seconds = wait_unready(served.server, LATE_SECONDS)
    record.happened = f"{statuses[-1]}, not ready after {seconds:.0f} s"


@pytest.mark.parametrize(("row", "fault"), [("5", "deliver"), ("6", "hang")])
def test_a_worker_that_stands_still_ends_the_process(
    broken: tuple[Contained, Break], record: Record, row: str, fault: str
) -> None:
    served, become = broken
    server = served.server
    record.row, record.name = row, f"always: {fault}"
    become(fault)
    with contextlib.ExitStack() as waiting:
        start = time.monotonic()
        # One that is taken, and one that waits behind it.
        for _ in range(2):
            waiting.enter_context(_asked(server))
        seconds = wait_unready(server, STALL_SECONDS + LATE_SECONDS)
        record.happened = f"not ready after {seconds:.0f} s"
        livez = httpx.get(f"{server.url}/livez", timeout=LIMIT_SECONDS)
        assert livez.status_code == 200
        code = server.process.wait(3 * STALL_SECONDS + LATE_SECONDS)
    record.happened += f", ended with {code} after {time.monotonic() - start:.0f} s"
    assert code == 1


@contextlib.contextmanager
def _asked(server: Server) -> Iterator[None]:
    """A request that has been sent, and whose answer nobody has read."""
    body = b'{"texts":["Great!"]}'
    with socket.create_connection(("127.0.0.1", server.port), timeout=LIMIT_SECONDS) as client:
        client.sendall(b"POST /classify HTTP/1.1\r\nhost: test\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        yield


def test_without_its_listener_of_grpc_it_is_not_ready(broken: tuple[Contained, Break], record: Record) -> None:
    served, become = broken
    record.row, record.name = "8", "gRPC's listener dies"
    assert readiness(served.server)["ServerReady"] is True
    become("grpc")
    without = {**UNREADY, "grpc health": None, "ServerReady": None}
    seconds = wait_unready(served.server, STALL_SECONDS + LATE_SECONDS, without)
    record.happened = f"not ready after {seconds:.0f} s"
