"""Counts the fields of an encoded message before it is decoded.

A field may take two bytes, and its object a hundred: decoded, 4 MiB of empty outputs take 150 MB, and 100 ms of the
event loop. https://protobuf.dev/programming-guides/encoding
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5
SIZES = {FIXED64: 8, FIXED32: 4}

# The fields that are messages, by field number, each with its own such fields; ``None`` is a packed list of numbers.
Messages: TypeAlias = Mapping[int, "Messages | None"]


def has_more_fields(encoded: bytes, limit: int, messages: Messages) -> bool:
    """Whether ``encoded`` has more than ``limit`` fields, with those of its ``messages`` and bytes of packed numbers.

    An invalid encoding ends the count: decoding it will fail.
    """
    count = 0
    waiting: list[tuple[int, int, Messages]] = [(0, len(encoded), messages)]
    while waiting:
        position, end, inner = waiting.pop()
        while position < end:
            count += 1
            if count > limit:
                return True
            tag, position = _varint(encoded, position)
            kind = tag & 7
            if kind == VARINT:
                _, position = _varint(encoded, position)
            elif kind == LENGTH_DELIMITED:
                length, position = _varint(encoded, position)
                if (tag >> 3) in inner:
                    fields = inner[tag >> 3]
                    if fields is None:
                        count += max(min(length, end - position), 0)
                    else:
                        waiting.append((position, min(position + length, end), fields))
                position += length
            elif kind in SIZES:
                position += SIZES[kind]
            # A group, which inference.proto does not have, counts as its tag and the fields that follow.
    return count > limit


def _varint(encoded: bytes, position: int) -> tuple[int, int]:
    """The number at ``position``, and the position after it."""
    value = shift = 0
    while position < len(encoded):
        byte = encoded[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80 or shift > 63:
            break
        shift += 7
    return value, position
