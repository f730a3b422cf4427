"""Attacks over HTTP, as bytes on sockets. Each is bounded in count and time, and leaves nothing open."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import socket
import ssl
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from tests.faults import bodies
from tests.faults.sending import Outcomes, Target, answer, at_once, exchange, post, request, send_for

# As many as the issue's: more than 512 MB have room for.
UNFINISHED = 87
# How long unfinished requests are held; shorter than any limit of time, so that all are there together.
HOLD_SECONDS = 5.0
ENDLESS_SECONDS = 10.0
BLOCK = 65_536
LEAVING = 1000
GUESS_SECONDS = 8.0
GUESSING_CONNECTIONS = 8
GET = b"GET /info HTTP/1.1\r\nhost: test\r\n"

# Requests whose length two servers in a row might read differently (RFC 9112, sections 6.1 to 6.3 and 7.1). Behind each
# is a second request, which must not be answered.
CONTRADICTIONS = (
    b"content-length: 5\r\ntransfer-encoding: chunked",
    b"transfer-encoding: chunked\r\ncontent-length: 5",
    b"content-length: 5\r\ncontent-length: 6",
    b"content-length: 5, 6",
    b"content-length: +5",
    b"content-length: -5",
    b"content-length: 0x5",
    b"content-length: 5 5",
    b"content-length: 99999999999999999999999",
    b"content-length : 5",
    b"transfer-encoding : chunked",
    b"transfer-encoding: xchunked",
    b"transfer-encoding: chunked, identity",
    b"transfer-encoding: identity, chunked",
    b"transfer-encoding: gzip, chunked",
    b"transfer-encoding: chunked\r\ntransfer-encoding: identity",
    b"transfer-encoding: chunked\r\ntransfer-encoding: chunked",
    b"transfer-encoding:\x0bchunked",
    b'transfer-encoding: "chunked"',
)
# Heads that are not those of HTTP/1.1 (RFC 9112, sections 2.3 and 3.2).
INVALID_HEADS = (
    b"GET /info HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
    b"GET /info HTTP/1.1\r\n\r\n",
    b"GET /info HTTP/2.0\r\nhost: a\r\n\r\n",
    b"POST /classify HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
)
TRAVERSALS = (
    b"/../../../../etc/passwd",
    b"/ui/../../../../etc/passwd",
    b"/ui/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    b"/ui/..%2f..%2f..%2f..%2fetc%2fpasswd",
    b"/ui//etc/passwd",
    b"/static_content/../../../../etc/passwd",
    b"/static_content/..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
    b"/static_content//etc/passwd",
    b"/static_content/%00/etc/passwd",
)


def endless_header(target: Target) -> Outcomes:
    """One header without an end."""
    return Counter([_endless(target, GET + b"x: ", b"a")])


def endless_headers(target: Target) -> Outcomes:
    """Short headers without an end."""
    return Counter([_endless(target, GET, b"x: a\r\n")])


def endless_url(target: Target) -> Outcomes:
    """A URL without an end."""
    return Counter([_endless(target, b"GET /", b"a")])


def endless_trailers(target: Target) -> Outcomes:
    """Trailers without an end behind a body in chunks."""
    head = b"POST /classify HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
    return Counter([_endless(target, head, b"x: a\r\n")])


def endless_chunks(target: Target) -> Outcomes:
    """Chunks of a byte, each with a long extension, without an end."""
    head = b"POST /classify HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n"
    return Counter([_endless(target, head, b"1;" + b"x" * 1000 + b"\r\n \r\n")])


def _endless(target: Target, start: bytes, repeated: bytes) -> str:
    """Send until the service answers or closes; its answer is read first, since the rest may be reset."""
    block = repeated * (BLOCK // len(repeated))
    with target.connect(seconds=ENDLESS_SECONDS) as client:
        end = time.monotonic() + ENDLESS_SECONDS
        client.settimeout(0.001)
        client.sendall(start)
        while time.monotonic() < end:
            with contextlib.suppress(TimeoutError):
                client.send(block)
            try:
                if client.recv(1, socket.MSG_PEEK):
                    return answer(client)
                return "closed"
            except TimeoutError:
                pass
            except OSError:
                return "reset"
    return "read for ever"


def unfinished_bodies(target: Target) -> Outcomes:
    """87 bodies of 4 MB less a byte, held together."""
    head = b"POST /classify HTTP/1.1\r\nhost: test\r\ncontent-length: %d\r\n\r\n" % bodies.LIMIT
    return _held(target, head + b" " * (bodies.LIMIT - 1), UNFINISHED)


def unfinished_chunks(target: Target) -> Outcomes:
    """The same in one chunk, without a length that could be refused in the head."""
    head = b"POST /classify HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n" % bodies.LIMIT
    return _held(target, head + b" " * (bodies.LIMIT - 1), UNFINISHED)


def idle_connections(target: Target, count: int = 40) -> Outcomes:
    """Connections that send nothing."""
    return _held(target, b"", count)


def unfinished_heads(target: Target) -> Outcomes:
    """Connections that send half a head."""
    return _held(target, GET, UNFINISHED)


def unfinished_handshakes(target: Target) -> Outcomes:
    """Connections that send the beginning of a TLS handshake."""
    return _held(target, tls_beginning()[:-1], UNFINISHED)


def _held(target: Target, sent: bytes, count: int) -> Outcomes:
    deadline = time.monotonic() + HOLD_SECONDS

    def hold() -> str:
        try:
            with target.connect() as client:
                outcome = send_for(client, iter([sent] if sent else [b"\r\n"]), deadline - time.monotonic())
                if outcome == "reset":
                    return outcome
                client.settimeout(max(0.01, deadline - time.monotonic()))
                found = answer(client)
                return "held" if found == "timeout" else found
        except OSError:
            return "refused"

    return at_once([hold] * count)


def tls_beginning() -> bytes:
    """What a TLS client sends first."""
    sent = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), sent, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return sent.read()


def long_words(target: Target) -> Outcomes:
    """Eight explanations of 200 words of 98 letters, at once."""
    return post(target, bodies.explained_long_words(), 8)


def many_long_words(target: Target) -> Outcomes:
    """Forty explanations of 200 words of 98 letters, at once."""
    return post(target, bodies.explained_long_words(), 40)


def long_texts(target: Target) -> Outcomes:
    """Four requests with 200 texts of 20,000 characters each, at once."""
    return post(target, bodies.long_texts(), 4)


def short_words(target: Target) -> Outcomes:
    """One explanation of 200 short words: the limit of the setting."""
    return post(target, bodies.explained_short_words())


def worst_json(target: Target, name: str) -> Outcomes:
    """A body of ``bodies.JSON``."""
    return post(target, bodies.worst_json(name))


def contradictions(target: Target) -> Outcomes:
    """Each of ``CONTRADICTIONS`` with a second request behind it; two answers count as ``smuggled``."""
    return sum((Counter([_contradiction(target, headers)]) for headers in CONTRADICTIONS), Counter())


def _contradiction(target: Target, headers: bytes) -> str:
    sent = b"POST /classify HTTP/1.1\r\nhost: test\r\n%b\r\n\r\n0\r\n\r\n%b\r\n" % (headers, GET)
    with target.connect() as client:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        received = b""
        with contextlib.suppress(OSError):
            while chunk := client.recv(BLOCK):
                received += chunk
    answers = received.split(b"HTTP/1.1 ")[1:]
    if len(answers) > 1:
        return "smuggled"
    return answers[0][:3].decode() if answers else "closed"


def invalid_heads(target: Target) -> Outcomes:
    """Each of ``INVALID_HEADS``."""
    return Counter(exchange(target, head) for head in INVALID_HEADS)


def path_traversal(target: Target) -> Outcomes:
    """Each of ``TRAVERSALS``; a file of the machine in the answer counts as ``leaked``."""

    def traverse(path: bytes) -> str:
        with target.connect() as client:
            client.sendall(b"GET %b HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n" % path)
            received = b"".join(iter(lambda: client.recv(BLOCK), b""))
        return "leaked" if b"root:" in received else received.split(b" ", 2)[1].decode()

    return Counter(map(traverse, TRAVERSALS))


def leaving_midway(target: Target) -> Outcomes:
    """1,000 clients that leave: within the head, within the body, or once they have asked."""
    whole = request(bodies.Body("/classify", gzip.compress(b'{"texts":["a text that nobody waits for"]}')))
    parts = itertools.cycle([whole[:20], whole[:-3], whole])
    outcomes: Outcomes = Counter()
    for part in itertools.islice(parts, LEAVING):
        try:
            with target.connect() as client:
                client.sendall(part)
            outcomes["left"] += 1
        except OSError:
            outcomes["refused"] += 1
    return outcomes


def key_guesses(target: Target) -> Outcomes:
    """Guesses of a key from one address for 8 s, on a few connections, as fast as they are answered."""
    end = time.monotonic() + GUESS_SECONDS

    def guess(first: int) -> Iterator[str]:
        for number in itertools.count(first, GUESSING_CONNECTIONS):
            if time.monotonic() > end:
                return
            key = b"guess-%020d" % number
            head = b"POST /classify HTTP/1.1\r\nhost: test\r\nauthorization: Bearer %b\r\nconnection: close\r\n" % key
            yield exchange(target, head + b"content-length: 2\r\n\r\n{}", end + 1 - time.monotonic())

    with ThreadPoolExecutor(GUESSING_CONNECTIONS) as pool:
        return sum(pool.map(lambda first: Counter(guess(first)), range(GUESSING_CONNECTIONS)), Counter())
