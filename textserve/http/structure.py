"""Looks into a JSON body before it is parsed: counts its values, and finds a key.

A value may have two bytes, and its Python object, or the error about it, a thousand: 4 MB of ``1,1,1,…`` would block
the event loop for seconds and take gigabytes.
"""

from __future__ import annotations

import re
from functools import cache

import numpy as np

# A comma is before each value but the first, a bracket or brace at the start of each list or object.
COMMA, BRACKET, BRACE = b",[{"
QUOTE = ord('"')
# The body is searched in blocks, until there are too many values.
BLOCK_BYTES = 16_384


def has_more_values(body: bytes, limit: int) -> bool:
    """Whether JSON has more than ``limit`` commas and opening brackets outside its strings."""
    if body.count(b",") + body.count(b"[") + body.count(b"{") <= limit:
        return False
    # Rarely needed. Escapes are replaced first, so that every quote starts or ends a string.
    plain = body.replace(rb"\\", b"__").replace(rb"\"", b"__")
    found = quotes = 0
    for start in range(0, len(plain), BLOCK_BYTES):
        marks = np.frombuffer(plain, np.uint8, min(BLOCK_BYTES, len(plain) - start), start)
        # A mark after an odd number of quotes is in a string. The sum overflows a byte, but its last bit stays right.
        before = np.cumsum(marks == QUOTE, dtype=np.uint8) + np.uint8(quotes)
        structural = (marks == COMMA) | (marks == BRACKET) | (marks == BRACE)
        found += int(np.count_nonzero(structural & (before & 1 == 0)))
        if found > limit:
            return True
        quotes = int(before[-1]) & 1
    return False


def has_key(body: bytes, key: str) -> bool:
    """Whether an object in JSON has ``key``, a name of ASCII letters: the outermost, since no protocol nests the key.

    A quote inside a string has a backslash before it, so the content of a text is not mistaken for a key.
    """
    return _key(key).search(body) is not None


@cache
def _key(key: str) -> re.Pattern[bytes]:
    # The look-behind is after the key: before it, it would run at every byte, and block the event loop.
    quoted = rb'"%s"' % key.encode()
    return re.compile(rb"%s(?<!\\%s)\s*+:" % (quoted, quoted))
