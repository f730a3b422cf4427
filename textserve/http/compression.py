"""Compressed responses over HTTP, for clients that accept them (RFC 9110, section 12.5.3)."""

from __future__ import annotations

import gzip
import zlib

# Shorter responses fit into one packet.
MIN_BYTES = 1400
# The fastest: responses are so repetitive that higher levels gain little.
LEVEL = 1


def compress(content: bytes, accept_encoding: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """``content``, compressed with gzip or deflate if the client accepts that and it gets shorter, and its headers.

    ``accept_encoding`` is the request's ``Accept-Encoding`` header, empty if it is missing.
    """
    if not accept_encoding or len(content) < MIN_BYTES:
        return content, []
    accepted = _accepted(accept_encoding)
    if b"gzip" in accepted:
        compressed, encoding = gzip.compress(content, LEVEL, mtime=0), b"gzip"
    elif b"deflate" in accepted:
        compressed, encoding = zlib.compress(content, LEVEL), b"deflate"
    else:
        return content, []
    if len(compressed) >= len(content):
        return content, []
    return compressed, [(b"content-encoding", encoding), (b"vary", b"accept-encoding")]


def _accepted(header: bytes) -> set[bytes]:
    accepted = set()
    for encoding in header.lower().split(b","):
        name, _, weight = encoding.partition(b";")
        if weight.replace(b" ", b"").rstrip(b"0") not in (b"q=", b"q=0."):
            accepted.add(name.strip())
    return accepted
