"""What ends by itself, and what there is only so much of: connections, descriptors, guesses of a key."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.faults import bodies, http_attacks
from tests.faults.contained import contained
from tests.faults.grpc_attacks import BEGINNING, HEAD
from tests.faults.honest import Seen, beside
from tests.faults.report import Record
from tests.faults.sending import Outcomes, described
from tests.http2 import DATA, END_HEADERS, HEADERS, frame
from tests.server import LIMIT_SECONDS, self_signed, serve

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3000)]

# A connection that sends nothing more ends within so many seconds: asyncio's limit of a TLS handshake is 60.
IDLE_SECONDS = 90.0
# gRPC's clients keep connections without calls, and open them again by themselves.
GRPC_IDLE_SECONDS = 400.0
# TEXTSERVE_API_KEYS takes none that is shorter.
KEY = "a-key-of-16-char"
# Without a delay, more than a thousand are answered.
MOST_GUESSES_PER_SECOND = 50

_POST = b"POST /classify HTTP/1.1\r\nhost: test\r\n"
UNFINISHED = {
    "nothing": b"",
    "half a head": _POST,
    "half a body": _POST + b"content-length: 1000\r\n\r\n" + b" " * 500,
    "4 MB of a body, less a byte": _POST + b"content-length: 4000000\r\n\r\n" + b" " * 3_999_999,
    "half a chunk": _POST + b"transfer-encoding: chunked\r\n\r\n3e8\r\n" + b" " * 500,
}
_HALF = frame(DATA, 0, 1, bodies.unfinished_message()[:10_000])
UNFINISHED_GRPC = {
    "gRPC: nothing": b"",
    "gRPC: a preface": BEGINNING,
    "gRPC: half a message": BEGINNING + frame(HEADERS, END_HEADERS, 1, HEAD) + _HALF,
}


def ending(port: int, sent: bytes, seconds: float = IDLE_SECONDS) -> float | None:
    """The seconds until the service closes a connection that sends no more, or ``None`` if it takes longer."""
    start = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=LIMIT_SECONDS) as client:
        client.sendall(sent)
        try:
            while (left := start + seconds - time.monotonic()) > 0:
                client.settimeout(left)
                if not client.recv(65_536):
                    return time.monotonic() - start
        except TimeoutError:
            return None
        except ConnectionError:
            return time.monotonic() - start
    return None


def check_endings(sent: Sequence[tuple[Any, ...]], record: Record) -> None:
    """Assert that the service closes all connections, each with a name and the arguments of :func:`ending`."""
    with ThreadPoolExecutor(len(sent)) as pool:
        seconds = pool.map(lambda each: ending(*each[1:]), sent)
        found = dict(zip((name for name, *_ in sent), seconds, strict=True))
    left = [name for name, after in found.items() if after is None]
    longest = max((after for after in found.values() if after is not None), default=0)
    record.happened = f"{len(found) - len(left)} of {len(found)} closed, the last after {longest:.0f} s"
    record.figures = {"seconds": found}
    assert left == []


def test_what_is_never_finished_is_closed(home: Path, record: Record) -> None:
    record.row, record.name = "3", "requests without end"
    with contained(home) as served:
        server, seen = served.server, Seen()
        try:
            with beside(server.port, server.grpc_port) as seen:
                check_endings(
                    [(name, server.port, sent) for name, sent in UNFINISHED.items()]
                    + [(name, server.grpc_port, sent, GRPC_IDLE_SECONDS) for name, sent in UNFINISHED_GRPC.items()],
                    record,
                )
        finally:
            record.saw(seen, served.peak_bytes)
        served.check(seen)


def test_a_handshake_that_is_never_finished_is_closed(home: Path, tmp_path: Path, record: Record) -> None:
    record.row, record.name = "3", "TLS handshakes without end"
    certificate, key = map(str, self_signed(tmp_path))
    hello = http_attacks.tls_beginning()
    with contained(home, TEXTSERVE_TLS_CERTIFICATE=certificate, TEXTSERVE_TLS_KEY=key) as served:
        port = served.server.port
        check_endings([("nothing", port, b""), ("half a hello", port, hello[:-1]), ("a hello", port, hello)], record)


@pytest.mark.parametrize(("ulimit", "may_refuse"), [("-n 64", True), ("-S -n 64", False)])
def test_idle_connections_leave_descriptors_for_others(
    home: Path, record: Record, ulimit: str, may_refuse: bool
) -> None:
    record.row, record.name = "12", f"ulimit {ulimit}, 40 idle connections"
    outcomes: Outcomes = Outcomes()
    with contained(home, ulimit=ulimit) as served:
        before = len(served.server.log())
        with beside(served.server.port, served.server.grpc_port) as seen:
            for _ in range(3):
                outcomes += http_attacks.idle_connections(served.target)
        record.happened = described(outcomes)
        record.saw(seen, served.peak_bytes)
        served.check(seen)
        logged = served.server.log()[before:]
    refused = any(sent.outcome != "ok" for sent in seen.requests)
    assert not refused or (may_refuse and logged)


def test_guesses_of_a_key_are_slow_and_leave_a_line_without_them(home: Path, record: Record) -> None:
    record.row, record.name = "15", "guesses of a key"
    with contained(home, TEXTSERVE_API_KEYS=KEY) as served:
        before = len(served.server.log())
        # The attack comes from 127.0.0.1, whose requests may have to wait.
        options = ["--key", KEY, "--source", "127.0.0.2"]
        with beside(served.server.port, served.server.grpc_port, *options) as seen:
            outcomes = http_attacks.key_guesses(served.target)
        record.happened = described(outcomes)
        record.saw(seen, served.peak_bytes)
        served.check(seen)
        logged = served.server.log()[before:]
    assert outcomes["401"] < MOST_GUESSES_PER_SECOND * http_attacks.GUESS_SECONDS
    assert logged
    assert "guess-" not in logged
    assert KEY not in logged


@pytest.mark.parametrize("key", ["k", "a" * 15])
def test_a_short_key_is_refused_at_the_start(home: Path, record: Record, key: str) -> None:
    record.row, record.name = "15", f"a key of {len(key)} letters"
    with (
        pytest.raises(RuntimeError, match=r"exited with 1:\n(.*\n)*.*TEXTSERVE_API_KEYS") as error,
        serve(home, TEXTSERVE_API_KEYS=key),
    ):
        record.happened = "it serves"
    record.happened = str(error.value).partition(":")[0]
