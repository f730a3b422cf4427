"""Reads the body of a request within its limit, and decompresses it."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from textserve.errors import BodyTooLarge, InvalidRequest, ReceiveTimeout
from textserve.http.memory import SHORT_BYTES, BodyShare

# With these window bits, zlib tells gzip from deflate by the first bytes.
DETECT_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS

CHUNK = 65_536
# Enough for a log to which members are appended; each costs the event loop some ten microseconds, even an empty one.
MAX_MEMBERS = 100

# No limit has more digits, and Python refuses to parse a number of thousands of digits.
MAX_DIGITS = 18

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


async def read_body(headers: Mapping[bytes, bytes], receive: Receive, limit: int, share: BodyShare) -> bytes:
    """The decompressed body; it has at most ``limit`` bytes before and after decompression.

    Raises:
        BodyTooLarge: as soon as the limit is known to be exceeded.
        Overloaded: if the bodies of all requests together take too much memory.
        ReceiveTimeout: if this body arrives slowly and other requests need the memory.
        InvalidRequest: if the client disconnects, or the body cannot be decompressed.
    """
    declared = headers.get(b"content-length", b"0")
    if declared.isdigit() and (len(declared) > MAX_DIGITS or int(declared) > limit):
        raise _too_large(limit)
    body, more = await _chunk(receive)
    if more:
        try:
            async with asyncio.timeout(None) as timeout:
                share.receive(timeout)
                body = await _rest(body, receive, limit, share)
        except TimeoutError:
            raise ReceiveTimeout("arrived too slowly while other requests needed the memory", where="body") from None
        share.received()
    if len(body) > limit:
        raise _too_large(limit)
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    if encoding == b"identity":
        return body
    if encoding not in (b"gzip", b"x-gzip", b"deflate"):
        raise InvalidRequest("must be gzip, deflate or identity", where="content-encoding")
    content = _decompress(body, encoding.decode(), limit)
    if len(content) > SHORT_BYTES:
        share.add(len(content))
    return content


async def _rest(first: bytes, receive: Receive, limit: int, share: BodyShare) -> bytes:
    chunks, received, more = [first], len(first), True
    while more:
        chunk, more = await _chunk(receive)
        chunks.append(chunk)
        received += len(chunk)
        if received > limit:
            raise _too_large(limit)
        if received > SHORT_BYTES:
            share.add(len(chunk))
    return b"".join(chunks)


async def _chunk(receive: Receive) -> tuple[bytes, bool]:
    """The next part of the body, and whether more follow."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise InvalidRequest("is incomplete: the connection was closed", where="body")
    return message.get("body", b""), message.get("more_body", False)


def _decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """Decompress all members of gzip data (RFC 1952, section 2.2), or one zlib stream."""
    content: list[bytes] = []
    room, position, members = limit, 0, 0
    while not members or body[position : position + CHUNK].strip(b"\0"):  # gzip data may be padded with zeros
        if members and encoding == "deflate":
            raise InvalidRequest("has bytes after the end of the deflate data", where="body")
        if members == MAX_MEMBERS:
            raise InvalidRequest(f"has more than {MAX_MEMBERS} gzip members; send one", where="body")
        members += 1
        decompressor = zlib.decompressobj(DETECT_GZIP_OR_ZLIB)
        while not decompressor.eof:
            # In chunks, since zlib copies all input after the end of a member.
            chunk = body[position : position + CHUNK]
            if not chunk:
                raise InvalidRequest(f"ends before the {encoding} data does", where="body")
            try:
                # One byte over the limit is enough to reject the body: a zip bomb is never decompressed as a whole.
                content.append(decompressor.decompress(chunk, room + 1))
            except zlib.error:
                raise InvalidRequest(f"is not valid {encoding}", where="body") from None
            room -= len(content[-1])
            if room < 0:
                raise _too_large(limit)
            position += len(chunk) - len(decompressor.unused_data)
    return b"".join(content)


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"has more than {limit} bytes; send fewer texts in one request", where="body")
