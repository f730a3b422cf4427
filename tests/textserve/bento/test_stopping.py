"""The order in which the real service stops."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.server import Server, serve

IN_FLIGHT = 64
# So much that some of it is computed long after the service has stopped accepting.
LONG = "It was great, we would come again. " * 48
# A request of each protocol over HTTP; gRPC's are in protocols/test_grpc.py.
REQUESTS: dict[str, dict[str, Any]] = {
    "/classify": {"texts": [LONG]},
    "/explain": {"text": "It was great, we would come again. " * 3},
    "/": {"inputs": LONG},
    "/predict": {"inputs": LONG},
    "/v2/models/sentiment-pl-en/infer": {
        "inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [LONG]}],
        "outputs": [{"name": "label"}],
    },
}


def label(path: str, answer: httpx.Response) -> str:
    content = answer.json()
    match path:
        case "/classify":
            content = content["results"][0]
        case "/":
            content = content[0][0]
        case "/predict":
            content = content[0]
        case "/v2/models/sentiment-pl-en/infer":
            content = {"label": content["outputs"][0]["data"][0]}
    found: str = content["label"]
    return found


async def ask(server: Server, paths: list[str]) -> list[tuple[str, httpx.Response, float]]:
    """Post to each path at once, tell the service to stop, and wait for every answer and when it came."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=server.url, limits=limits, timeout=100) as client:

        async def one(path: str) -> tuple[str, httpx.Response, float]:
            answer = await client.post(path, json=REQUESTS[path])
            return path, answer, time.monotonic()

        tasks = [asyncio.create_task(one(path)) for path in paths]
        # Answered after those have been sent: the service has the first of them, and the delay is for the others.
        assert (await client.get("/livez")).status_code == 200
        server.process.send_signal(signal.SIGTERM)
        return await asyncio.gather(*tasks)


@pytest.mark.parametrize("path", REQUESTS)
def test_what_is_in_flight_is_answered_when_it_is_told_to_stop(home: Path, path: str) -> None:
    # Enough for a machine that is busy with something else.
    with serve(
        home, TEXTSERVE_MAX_QUEUE_SECONDS="60", TEXTSERVE_DRAIN_SECONDS="90", TEXTSERVE_REQUEST_SECONDS="90"
    ) as stopping:
        told = time.monotonic()
        answers = asyncio.run(ask(stopping, [path] * IN_FLIGHT))
        assert stopping.process.wait(30) == 0
    assert Counter(answer.status_code for _, answer, _ in answers) == {200: IN_FLIGHT}
    assert {label(path, answer) for _, answer, _ in answers} == {"positive"}
    # It had stopped accepting before: the delay of a second was over, and requests were still in flight.
    assert max(at for _, _, at in answers) - told > 1


def test_readiness_goes_first_and_requests_are_answered_meanwhile(home: Path) -> None:
    with serve(home, TEXTSERVE_STOP_DELAY_SECONDS="3") as stopping:
        assert httpx.get(f"{stopping.url}/readyz").status_code == 200
        stopping.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 2
        while httpx.get(f"{stopping.url}/readyz").status_code != 503:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert httpx.get(f"{stopping.url}/livez").status_code == 200
        answer = httpx.post(f"{stopping.url}/classify", json={"texts": ["Great!"]}, timeout=10)
        assert answer.status_code == 200
        assert stopping.process.wait(15) == 0


def test_what_is_not_answered_in_time_is_refused_and_the_service_ends(home: Path) -> None:
    paths = ["/classify"] * 400
    with serve(
        home,
        TEXTSERVE_THREADS="1",
        TEXTSERVE_MAX_QUEUE_SECONDS="60",
        TEXTSERVE_STOP_DELAY_SECONDS="1",
        TEXTSERVE_DRAIN_SECONDS="1",
    ) as stopping:
        answers = asyncio.run(ask(stopping, paths))
        assert stopping.process.wait(10) == 0
    statuses = Counter(answer.status_code for _, answer, _ in answers)
    assert statuses.keys() == {200, 503}
    refused = [answer.json()["error"]["type"] for _, answer, _ in answers if answer.status_code == 503]
    assert set(refused) == {"shutting_down"}


def test_a_client_that_never_finishes_does_not_keep_the_service(home: Path) -> None:
    with (
        serve(home, TEXTSERVE_STOP_DELAY_SECONDS="0", TEXTSERVE_DRAIN_SECONDS="1") as stopping,
        socket.create_connection(("127.0.0.1", stopping.port)) as slow,
    ):
        slow.sendall(b"POST /classify HTTP/1.1\r\nhost: test\r\ncontent-length: 100\r\n\r\n{")
        time.sleep(0.5)
        started = time.monotonic()
        assert stopping.stop() == 0
        assert time.monotonic() - started < 6


def test_who_says_it_twice_does_not_wait(home: Path) -> None:
    with serve(home, TEXTSERVE_STOP_DELAY_SECONDS="60") as stopping:
        (worker,) = [one for one in stopping.processes() if "_bentoml_impl.worker.service" in " ".join(one.cmdline())]
        stopping.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        worker.send_signal(signal.SIGTERM)
        assert stopping.process.wait(15) == 0
