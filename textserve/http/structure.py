"""Counts the values of a JSON body before it is parsed.

A value may be two bytes and its object, or the error about it, a thousand: 4 MB of ``1,1,1,…`` would take seconds of
the event loop and gigabytes.
"""

from __future__ import annotations

import numpy as np

# Before each value but the first, and at the start of each list and object.
COMMA, BRACKET, BRACE = b",[{"
QUOTE = ord('"')


def has_more_values(body: bytes, limit: int) -> bool:
    """Whether JSON has more than ``limit`` commas and opening brackets outside its strings."""
    if sum(body.count(mark) for mark in (b",", b"[", b"{")) <= limit:
        return False
    # Rarely needed, and some 15 ms for 4 MB. Escapes are replaced first, so that every quote starts or ends a string.
    plain = body.replace(rb"\\", b"__").replace(rb"\"", b"__")
    marks = np.frombuffer(plain, np.uint8)
    # An odd number of quotes before a mark: it is in a string. The sum of bytes overflows, its last bit does not.
    inside = np.cumsum(marks == QUOTE, dtype=np.uint8) & 1
    structural = (marks == COMMA) | (marks == BRACKET) | (marks == BRACE)
    return int(np.count_nonzero(structural & (inside == 0))) > limit
