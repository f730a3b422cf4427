"""The body of a request: read within its limit, and decompressed."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from textserve.errors import BodyTooLarge, InvalidRequest

# zlib then tells gzip from deflate by the first bytes.
DETECT_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


async def read_body(headers: Mapping[bytes, bytes], receive: Receive, limit: int) -> bytes:
    """The decompressed body of at most ``limit`` bytes, before and after decompression.

    Raises:
        BodyTooLarge: as soon as the limit is known to be exceeded.
        InvalidRequest: if the client disconnects, or the body cannot be decompressed.
    """
    declared = headers.get(b"content-length", b"0")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    received = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise InvalidRequest("is incomplete: the connection was closed", where="body")
        chunk = message.get("body", b"")
        chunks.append(chunk)
        received += len(chunk)
        more = message.get("more_body", False)
        if received > limit:
            raise _too_large(limit)
    body = b"".join(chunks)
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    return body if encoding == b"identity" else _decompress(body, encoding, limit)


def _decompress(body: bytes, encoding: bytes, limit: int) -> bytes:
    if encoding not in (b"gzip", b"deflate"):
        raise InvalidRequest("must be gzip, deflate or identity", where="content-encoding")
    decompressor = zlib.decompressobj(DETECT_GZIP_OR_ZLIB)
    try:
        # One byte over the limit is enough to know: a bomb is never decompressed as a whole.
        content = decompressor.decompress(body, limit + 1)
    except zlib.error as error:
        raise InvalidRequest(f"is not valid {encoding.decode()}", where="body") from error
    if len(content) > limit:
        raise _too_large(limit)
    if not decompressor.eof:
        raise InvalidRequest(f"ends before the {encoding.decode()} data does", where="body")
    return content


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"has more than {limit} bytes; send fewer texts in one request", where="body")
