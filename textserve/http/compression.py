"""Compressed answers over HTTP, for clients that ask for them (RFC 9110, section 12.5.3)."""

from __future__ import annotations

import gzip
import zlib

# Shorter answers fit into one packet as they are.
WORTHWHILE_BYTES = 1400
# The fastest: answers repeat themselves so much that more effort gains little.
LEVEL = 1


def compress(content: bytes, accept_encoding: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """``content`` in gzip or deflate, if the client accepts one of them and it is worthwhile, and the headers of that.

    Args:
        content: the body of an answer.
        accept_encoding: the request's header of that name, empty if it has none.
    """
    if not accept_encoding or len(content) < WORTHWHILE_BYTES:
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
    for one in header.lower().split(b","):
        name, _, weight = one.partition(b";")
        if weight.replace(b" ", b"").rstrip(b"0") not in (b"q=", b"q=0."):
            accepted.add(name.strip())
    return accepted
