"""A gRPC call with raw frames and headers, as no client library would send it."""

from __future__ import annotations

import re
import socket
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS = 0, 1, 4
END_STREAM, END_HEADERS, ACK = 1, 4, 1
# gRPC's server sends headers without Huffman coding.
STATUS = re.compile(rb"grpc-status.(\d{1,2})", re.DOTALL)
LONGEST = 126


def call(
    port: int, path: str, message: bytes, *, encoding: str = "identity", compressed: bool = False, timeout: str = "1H"
) -> int:
    """The status code of a call with a message of up to 60,000 bytes.

    Args:
        port: the server's port on the loopback address.
        path: the method's path, ``/package.Service/Method``.
        message: the bytes after the message's length.
        encoding: the header ``grpc-encoding``.
        compressed: the message's compressed flag.
        timeout: the header ``grpc-timeout``, which only the server enforces.
    """
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
        "grpc-encoding": encoding,
        "grpc-timeout": timeout,
    }
    body = struct.pack(">BI", compressed, len(message)) + message
    with socket.create_connection(("127.0.0.1", port), timeout=100) as connection:
        connection.sendall(PREFACE + frame(SETTINGS, 0, 0, b"") + frame(SETTINGS, ACK, 0, b""))
        connection.sendall(frame(HEADERS, END_HEADERS, 1, b"".join(literal(*header) for header in headers.items())))
        for start in range(0, len(body), 16_000):
            last = start + 16_000 >= len(body)
            connection.sendall(frame(DATA, END_STREAM if last else 0, 1, body[start : start + 16_000]))
        received = b""
        while not (found := STATUS.search(received)):
            chunk = connection.recv(65_536)
            if not chunk:
                raise ConnectionError(f"no status in {received!r}")
            received += chunk
    return int(found[1])


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame (RFC 9113, section 4.1)."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def literal(name: str, value: str) -> bytes:
    """A header without indexing (RFC 7541, section 6.2.2)."""
    assert len(name) <= LONGEST
    assert len(value) <= LONGEST
    return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
