"""What the attacks have in common: where they go, how they send, and how they name what came back."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.faults.bodies import Body

# How often each outcome was seen: a status such as ``400``, or what :func:`answer` names without one.
Outcomes = Counter[str]
# No attack waits longer for an answer.
ANSWER_SECONDS = 60.0
STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")


@dataclass(frozen=True)
class Target:
    """The service under attack, on loopback; ``source`` is the address that the attack comes from."""

    port: int
    grpc_port: int
    source: str = "127.0.0.1"

    def connect(self, *, grpc: bool = False, seconds: float = ANSWER_SECONDS) -> socket.socket:
        """A connection to the service.

        Raises:
            OSError: if it is refused.
        """
        port = self.grpc_port if grpc else self.port
        client = socket.create_connection(("127.0.0.1", port), timeout=seconds, source_address=(self.source, 0))
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client


def described(outcomes: Outcomes) -> str:
    """The most frequent outcomes, for people."""
    return ", ".join(f"{outcome} × {count}" for outcome, count in outcomes.most_common(4))


def answer(client: socket.socket) -> str:
    """The status of the response, or ``closed``, ``reset`` or ``timeout`` if there is none."""
    received = b""
    while not (found := STATUS.match(received)):
        try:
            chunk = client.recv(65_536)
        except TimeoutError:
            return "timeout"
        except OSError:
            return "reset"
        if not chunk:
            return "closed"
        received += chunk
    return found[1].decode()


def exchange(target: Target, sent: bytes, seconds: float = ANSWER_SECONDS) -> str:
    """Send bytes on a new connection; the outcome."""
    try:
        with target.connect(seconds=seconds) as client:
            # A service that has seen enough closes before all is sent; its answer may still arrive.
            with contextlib.suppress(OSError):
                client.sendall(sent)
            return answer(client)
    except OSError:
        return "refused"


def request(body: Body, *headers: bytes) -> bytes:
    """The bytes of a request with a body in gzip."""
    lines = [
        b"POST %b HTTP/1.1" % body.path.encode(),
        b"host: test",
        b"connection: close",
        b"content-encoding: gzip",
        b"content-type: application/json",
        b"content-length: %d" % len(body.packed),
        *headers,
    ]
    return b"\r\n".join([*lines, b"", body.packed])


def post(target: Target, body: Body, count: int = 1) -> Outcomes:
    """The outcomes of ``count`` requests at once."""
    return at_once([lambda: exchange(target, request(body))] * count)


def at_once(actions: Sequence[Callable[[], str]]) -> Outcomes:
    """The outcomes of actions, each on a thread."""
    with ThreadPoolExecutor(len(actions)) as pool:
        return Counter(running.result() for running in [pool.submit(action) for action in actions])


def send_for(client: socket.socket, chunks: Iterator[bytes], seconds: float) -> str:
    """Send chunks until they end, the time is over, or the service closes; what ended it.

    Reads and drops what arrives, so that the service is never kept from reading by its own answers.
    """
    end = time.monotonic() + seconds
    client.setblocking(False)
    left = memoryview(next(chunks))
    while time.monotonic() < end:
        try:
            if not client.recv(65_536):
                return "closed"
        except BlockingIOError:
            pass
        except OSError:
            return "reset"
        try:
            left = left[client.send(left) :]
        except BlockingIOError:
            time.sleep(0.005)
        except OSError:
            return "reset"
        if not left:
            following = next(chunks, None)
            if following is None:
                return "sent"
            left = memoryview(following)
    return "time over"
