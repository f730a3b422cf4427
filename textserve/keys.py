"""API keys, the same on every protocol. Without any, no key is required."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from textserve.errors import Unauthorized

SCHEME = "bearer "


class ApiKeys:
    """The accepted keys, stored as digests, so that printing or dumping this object shows none."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = [_digest(key) for key in keys]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def check(self, authorization: str) -> None:
        """Check the HTTP header or gRPC metadata ``authorization``, empty if it is missing.

        Every key is compared, each in constant time, so timing leaks nothing.

        Raises:
            Unauthorized: if it is not ``Bearer KEY`` with one of the keys.
        """
        if not self._digests:
            return
        if not authorization.lower().startswith(SCHEME):
            raise Unauthorized("is missing; send 'Authorization: Bearer KEY'", where="authorization")
        found = _digest(authorization[len(SCHEME) :].strip())
        matches = [hmac.compare_digest(found, digest) for digest in self._digests]
        if not any(matches):
            raise Unauthorized("is not one of the keys of this service", where="authorization")


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
