"""The graceful shutdown of the real service."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
import uvicorn

from tests.server import LIMIT_SECONDS, Server, serve
from textserve.application import Application
from textserve.bento.stopping import HANGUP, SIGNALS, Stopping, replace_uvicorn_handlers
from textserve.settings import Settings

# So many long texts that some are classified long after the service has stopped accepting.
IN_FLIGHT = 12
GREAT = "It was great, we would come again. "
# A request of each protocol over HTTP, of a text; tests/textserve/grpc tests gRPC.
REQUESTS: dict[str, Callable[[str], dict[str, Any]]] = {
    "/classify": lambda text: {"texts": [text]},
    "/explain": lambda text: {"text": text[: 3 * len(GREAT)]},
    "/": lambda text: {"inputs": text},
    "/predict": lambda text: {"inputs": text},
    "/v2/models/sentiment-pl-en/infer": lambda text: {
        "inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}],
        "outputs": [{"name": "label"}],
    },
}


def label(path: str, answer: httpx.Response) -> str:
    """The label in a response of ``path``."""
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


async def post_and_stop(server: Server, paths: Sequence[str]) -> list[tuple[str, httpx.Response, float]]:
    """Post to all paths at once, then send SIGTERM; return paths, responses, and the seconds until each response."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=server.url, limits=limits, timeout=LIMIT_SECONDS) as client:

        async def post(number: int, path: str) -> tuple[str, httpx.Response, float]:
            # Equal texts would be computed once.
            answer = await client.post(path, json=REQUESTS[path](f"{number}. {GREAT * 48}"))
            return path, answer, time.monotonic()

        tasks = [asyncio.create_task(post(number, path)) for number, path in enumerate(paths)]
        # This is sent last: when it is answered, the first requests have arrived; the others arrive in the delay.
        assert (await client.get("/livez")).status_code == 200
        stopped = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        return [(path, answer, at - stopped) for path, answer, at in await asyncio.gather(*tasks)]


def test_requests_in_flight_are_answered_by_every_protocol(home: Path) -> None:
    limit = f"{LIMIT_SECONDS:g}"
    with serve(
        home,
        TEXTSERVE_THREADS="1",
        TEXTSERVE_MAX_QUEUE_SECONDS=limit,
        TEXTSERVE_REQUEST_SECONDS=limit,
        TEXTSERVE_STOP_DELAY_SECONDS="1",
        TEXTSERVE_DRAIN_SECONDS=limit,
    ) as stopping:
        answers = asyncio.run(post_and_stop(stopping, [*REQUESTS] * IN_FLIGHT))
        assert stopping.process.wait(LIMIT_SECONDS) == 0
    assert Counter((path, answer.status_code) for path, answer, _ in answers) == {
        (path, 200): IN_FLIGHT for path in REQUESTS
    }
    assert {label(path, answer) for path, answer, _ in answers} == {"positive"}
    assert max(seconds for _, _, seconds in answers) > 1, "all were answered before the service stopped accepting"


def test_requests_not_answered_in_time_are_rejected(home: Path) -> None:
    with serve(
        home,
        TEXTSERVE_THREADS="1",
        TEXTSERVE_MAX_QUEUE_SECONDS="600",
        TEXTSERVE_STOP_DELAY_SECONDS="1",
        TEXTSERVE_DRAIN_SECONDS="0.5",
    ) as stopping:
        answers = asyncio.run(post_and_stop(stopping, ["/classify"] * 150))
        assert stopping.process.wait(LIMIT_SECONDS) == 0
    assert {answer.status_code for _, answer, _ in answers} == {200, 503}
    rejected = {answer.json()["error"]["type"] for _, answer, _ in answers if answer.status_code == 503}
    assert rejected == {"shutting_down"}


def test_it_is_not_ready_but_answers_during_the_delay_which_a_second_signal_ends(home: Path) -> None:
    with serve(home, TEXTSERVE_STOP_DELAY_SECONDS=f"{2 * LIMIT_SECONDS:g}") as stopping:
        stopping.process.send_signal(signal.SIGTERM)
        while (status := httpx.get(f"{stopping.url}/readyz", timeout=LIMIT_SECONDS).status_code) == 200:
            pass
        assert status == 503
        assert httpx.get(f"{stopping.url}/livez", timeout=LIMIT_SECONDS).status_code == 200
        body = {"texts": ["Great!"]}
        assert httpx.post(f"{stopping.url}/classify", json=body, timeout=LIMIT_SECONDS).status_code == 200
        stopping.process.send_signal(signal.SIGTERM)
        assert stopping.process.wait(LIMIT_SECONDS) == 0


def test_a_client_that_never_finishes_its_request_does_not_keep_the_process(home: Path) -> None:
    with (
        serve(home, TEXTSERVE_STOP_DELAY_SECONDS="0", TEXTSERVE_DRAIN_SECONDS="1") as stopping,
        socket.create_connection(("127.0.0.1", stopping.port), timeout=LIMIT_SECONDS) as slow,
    ):
        slow.sendall(b"POST /classify HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: 100\r\n\r\n")
        # The service waits for the body.
        assert slow.recv(100).startswith(b"HTTP/1.1 100 ")
        assert stopping.stop(seconds=LIMIT_SECONDS / 5) == 0, "uvicorn has no limit: see replace_uvicorn_handlers"


@pytest.fixture
def ignored() -> Iterator[None]:
    """Signals that reach nobody once a server no longer handles them."""
    numbers = (*SIGNALS, HANGUP)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.usefixtures("ignored")
@pytest.mark.parametrize("second", SIGNALS)
@pytest.mark.parametrize("first", SIGNALS)
def test_a_second_signal_ends_the_delay_and_no_request_and_a_third_is_uvicorns(
    first: signal.Signals, second: signal.Signals
) -> None:
    left = asyncio.Event()
    settings = Settings(stop_delay_seconds=2 * LIMIT_SECONDS, drain_seconds=LIMIT_SECONDS)
    application = cast(Application, SimpleNamespace(settings=settings, leave=left.set))
    server = uvicorn.Server(uvicorn.Config(app="unused"))

    async def run() -> None:
        Stopping(application)
        signal.raise_signal(first)
        await left.wait()
        assert not server.should_exit
        signal.raise_signal(second)
        while not server.should_exit:
            await asyncio.sleep(0)
        assert not server.force_exit
        signal.raise_signal(signal.SIGINT)
        assert server.force_exit

    with server.capture_signals():
        asyncio.run(asyncio.wait_for(run(), LIMIT_SECONDS))


def test_uvicorn_still_has_the_handlers_and_the_limit_that_are_replaced() -> None:
    server = uvicorn.Server(uvicorn.Config(app="unused"))
    assert server.config.timeout_graceful_shutdown is None

    def handler(number: int, frame: object) -> None:
        raise AssertionError

    with server.capture_signals():
        replaced = replace_uvicorn_handlers(handler, 1.5)
        assert {signal.getsignal(number) for number in SIGNALS} == {handler}
    message = "uvicorn no longer handles the signals with Server.handle_exit: see replace_uvicorn_handlers"
    assert replaced == dict.fromkeys(SIGNALS, server.handle_exit), message
    assert server.config.timeout_graceful_shutdown == 2
